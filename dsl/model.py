"""The typed model: a pipeline of layers and activations, every name looked up.

In: nothing (plain data, and the table of layers). Out: `Model`, from which one `nn.Module` is printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dsl.activation import Activation

Family = Literal["product", "channels", "groups", "rows", "residual"]
"""What a layer is: a product (convolution, matrix), a normalisation over what, or the model's input added."""


@dataclass(frozen=True)
class Layer:
    """A layer that a model may hold: a class of `torch.nn`, what the attribute that holds it is called, its
    arguments in PyTorch's order with their types, and how many of them have no default. A residual has no
    class, and no attribute.
    """

    module: str
    attribute: str
    family: Family
    arguments: tuple[tuple[str, str], ...]
    required: int


def _layer(module: str, attribute: str, family: Family, required: str, optional: str) -> Layer:
    pairs = [each.partition(":")[::2] for each in f"{required} {optional}".split()]
    arguments = tuple((name, _TYPES[kind]) for name, kind in pairs)
    return Layer(module, attribute, family, arguments, len(required.split()))


_TYPES = {
    "int": "int",
    "float": "float",
    "bool": "bool",
    "size1": "int | tuple[int]",
    "size2": "int | tuple[int, int]",
    "size3": "int | tuple[int, int, int]",
    "shape": "int | list[int]",
    "maybe": "float | None",
}

_CONV = (
    "in_channels:int out_channels:int kernel_size:size{}",
    "stride:size{0} padding:size{0} dilation:size{0} groups:int bias:bool",
)
_BATCH = ("num_features:int", "eps:float momentum:maybe affine:bool track_running_stats:bool")

LAYERS: dict[str, Layer] = {
    **{
        f"conv{d}d": _layer(f"Conv{d}d", "conv", "product", *(each.format(d) for each in _CONV))
        for d in (1, 2, 3)
    },
    "linear": _layer("Linear", "linear", "product", "in_features:int out_features:int", "bias:bool"),
    **{f"batchnorm{d}d": _layer(f"BatchNorm{d}d", "bn", "channels", *_BATCH) for d in (1, 2, 3)},
    "groupnorm": _layer(
        "GroupNorm", "gn", "groups", "num_groups:int num_channels:int", "eps:float affine:bool"
    ),
    "layernorm": _layer(
        "LayerNorm", "ln", "rows", "normalized_shape:shape", "eps:float elementwise_affine:bool bias:bool"
    ),
    "rmsnorm": _layer(
        "RMSNorm", "rms", "rows", "normalized_shape:shape", "eps:maybe elementwise_affine:bool"
    ),
    "residual": _layer("", "", "residual", "", ""),
}
"""The layers by the names that they have in a model."""


@dataclass(frozen=True)
class Argument:
    """An argument of a model's constructor; defaults, and what stages are given, are Python source."""

    name: str
    type: str
    default: str | None


@dataclass(frozen=True)
class Stage:
    """A layer, held in `attribute`, or an activation; `arguments` are those given, by name."""

    what: Layer | Activation
    arguments: tuple[tuple[str, str], ...] = ()
    attribute: str = ""


@dataclass(frozen=True)
class Model:
    """A model: `arguments` of the constructor, and the stages that an input passes in order."""

    name: str
    arguments: tuple[Argument, ...]
    stages: tuple[Stage, ...]
    formula: str
    class_name: str
    doc: str = ""
    path: str = ""

    @property
    def signature(self) -> str:
        """The name, and the arguments with their defaults."""
        shown = (
            each.name if each.default is None else f"{each.name} = {each.default}" for each in self.arguments
        )
        return f"{self.name}({', '.join(shown)})"

    @property
    def activations(self) -> tuple[Activation, ...]:
        """The activations that it applies, each once."""
        called = [each.what for each in self.stages if isinstance(each.what, Activation)]
        return tuple({each.name: each for each in called}.values())
