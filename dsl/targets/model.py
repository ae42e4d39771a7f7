"""A model's module: its kernels, and one class whose layers are PyTorch's own.

In: a `Model`. Out: Python source, not yet formatted. Activations and normalisations are taken together: what
stands around a normalisation runs in its passes over memory, and activations in sequence in one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise, zip_longest

from dsl import report
from dsl.activation import Activation
from dsl.model import Layer, Model, Stage
from dsl.targets import epilogue, triton
from dsl.targets.layout import docstring, inner_name
from dsl.targets.spelling import number


@dataclass
class Part:
    """What runs together: a product or a residual alone, or a normalisation with activations around it, or
    these alone. After a normalisation a residual may be added, and activations follow it: `later`.
    """

    layer: Stage | None = None
    before: list[Stage] = field(default_factory=list)
    after: list[Stage] = field(default_factory=list)
    later: list[Stage] | None = None
    name: str = ""

    @property
    def family(self) -> str:
        """The kind of its layer, `activations` where there is none."""
        return self.layer.what.family if self.layer and isinstance(self.layer.what, Layer) else "activations"

    @property
    def normalises(self) -> bool:
        """Whether it has a normalisation, in whose passes others run."""
        return self.family in epilogue.CLASSES

    @property
    def residual(self) -> bool:
        """Whether the model's input is added."""
        return self.family == "residual" or self.later is not None

    @property
    def key(self) -> tuple[object, ...]:
        """Parts of one key have the same kernels."""
        every = (self.before, self.after, self.later or ())
        chains = [tuple(_activation(each).name for each in chain) for chain in every]
        return ("channels" if self.family == "groups" else self.family, self.residual, *chains)


def parts(model: Model) -> list[Part]:
    """The stages of a model, taken together where one pass serves several."""
    found: list[Part] = []
    waiting: list[Stage] = []

    def flush() -> None:
        if waiting:
            if found and found[-1].normalises:
                last = found[-1]
                (last.after if last.later is None else last.later).extend(waiting)
            else:
                found.append(Part(before=list(waiting)))
            waiting.clear()

    for stage in model.stages:
        if isinstance(stage.what, Activation):
            waiting.append(stage)
        elif stage.what.family == "product":
            flush()
            found.append(Part(stage))
        elif stage.what.family == "residual":
            flush()
            if found and found[-1].normalises and found[-1].later is None:
                found[-1].later = []
            else:
                found.append(Part(stage))
        else:
            if found and found[-1].normalises:
                flush()
            found.append(Part(stage, list(waiting)))
            waiting.clear()
    flush()
    return found


def _activation(stage: Stage) -> Activation:
    assert isinstance(stage.what, Activation)
    return stage.what


def named(model: Model) -> list[Part]:
    """The parts, those with kernels named: `_normalised` or `_activations`, numbered where several differ.

    A single activation has kernels of its own.
    """
    found = parts(model)
    for word, chosen in (
        ("_normalised", [part for part in found if part.normalises]),
        ("_activations", [part for part in found if not part.layer and len(part.before) > 1]),
    ):
        keys = list(dict.fromkeys(part.key for part in chosen))
        for part in chosen:
            part.name = f"{word}{keys.index(part.key) + 1 if len(keys) > 1 else ''}"
    return found


def _places(chain: Sequence[Stage], start: int) -> list[list[str]]:
    """A name for every parameter of the activations of a chain."""
    names, count = [], start
    for stage in chain:
        size = len(_activation(stage).parameters)
        names.append([f"p{count + place}" for place in range(size)])
        count += size
    return names


@dataclass(frozen=True)
class Chain:
    """Activations in sequence: the jit functions that apply them, and the parameters' names."""

    name: str
    stages: tuple[Stage, ...]
    places: list[list[str]]

    @property
    def parameters(self) -> list[str]:
        """All parameters' names."""
        return [each for names in self.places for each in names]

    def jit(self) -> Iterator[str]:
        """The sequence and its derivative for a kernel."""
        declared = "".join(f"{each}, " for each in self.parameters)
        last = len(self.stages) - 1
        steps = "".join(f"    x{place + 1} = {self._jit(place, '')}\n" for place in range(last))
        said = " -> ".join(_activation(stage).name for stage in self.stages) or "no activation"
        value = self._jit(last, "") if self.stages else "x"
        slopes = [self._jit(place, "_grad") for place in range(last + 1)]
        slope = " * ".join(slopes) or "tl.full(x.shape, 1.0, x.dtype)"
        for end, label, result in (("", "{}.", value), ("_grad", "The derivative of {}.", slope)):
            yield (
                f"@triton.jit\ndef {self.name}{end}(x, {declared}fast: tl.constexpr):\n"
                f'    """{label.format(said)}"""\n{steps}    return {result}\n'
            )

    def called(self, end: str) -> str:
        """The sequence as calls of functions of tensors, whose names have an end."""
        source = "x"
        for stage, names in zip(self.stages, self.places, strict=True):
            source = f"{_activation(stage).name}{end}({', '.join([source, *names])})"
        return source

    def torch(self) -> str:
        """The sequence in torch: PyTorch's operators that the activations' modules define."""
        declared = "".join(f", {each}: float" for each in self.parameters)
        return (
            f"def {self.name}_torch(x: Tensor{declared}) -> Tensor:\n"
            f'    """`{self.name}` as operators of PyTorch\'s."""\n    return {self.called("_function")}\n'
        )

    def formulas(self) -> Iterator[str]:
        """The value, the first and the second derivative in torch operations, by the chain rule."""
        declared = "".join(f", {each}: float" for each in self.parameters)
        steps = "".join(
            f"    x{place + 1} = {self._formula(place, '')}\n" for place in range(len(self.stages) - 1)
        )
        last = len(self.stages) - 1
        bodies = [
            ("", "", self._formula(last, "")),
            ("_grad", "", " * ".join(self._formula(place, "_grad") for place in range(last + 1))),
        ]
        lines = "    first, second = " + f"{self._formula(0, '_grad')}, {self._formula(0, '_curvature')}\n"
        for place in range(1, last + 1):
            lines += f"    slope = {self._formula(place, '_grad')}\n"
            lines += f"    second = {self._formula(place, '_curvature')} * first * first + slope * second\n"
            lines += "    first = first * slope\n" if place < last else ""
        bodies.append(("_curvature", lines, "second"))
        said = " -> ".join(_activation(stage).name for stage in self.stages)
        for (kind, more, result), label in zip(
            bodies, ("{}", "The derivative of {}", "The second derivative of {}"), strict=True
        ):
            yield (
                f"def {self.name}{kind}_formula(x: Tensor{declared}) -> Tensor:\n"
                f'    """{label.format(said)} in torch operations."""\n{steps}{more}    return {result}\n'
            )

    def _jit(self, place: int, kind: str) -> str:
        given = "".join(f"{each}, " for each in self.places[place])
        return f"{inner_name(_activation(self.stages[place]).name)}{kind}({_at(place)}, {given}fast)"

    def _formula(self, place: int, kind: str) -> str:
        inner = inner_name(_activation(self.stages[place]).name)
        return f"{inner}{kind}_formula({', '.join([_at(place), *self.places[place]])})"


def _at(place: int) -> str:
    return f"x{place}" if place else "x"


def chains(part: Part) -> list[Chain]:
    """What stands before and after the normalisation of a part, and after its residual if anything does; or
    the activations of a part that has none.
    """
    ends = {"_before": part.before, "_after": part.after}
    if part.layer is None:
        ends = {"": part.before}
    elif part.later:
        ends["_later"] = part.later
    found: list[Chain] = []
    for end, stages in ends.items():
        places = _places(stages, sum(len(each.parameters) for each in found))
        found.append(Chain(f"{part.name}{end}", tuple(stages), places))
    return found


def module(model: Model, digest: str = "") -> str:
    """The source of a model's module; `digest` tells it from others in PyTorch's registry of operators."""
    found = named(model)
    body = [text for part in _distinct(found) for text in _definitions(part, digest)]
    text = "\n\n".join([*body, cls(model, found)])
    return "\n".join(
        [docstring(header(model)), _imports(model, text), f"__all__ = [{model.class_name!r}]\n", text]
    )


def _distinct(found: Sequence[Part]) -> list[Part]:
    """The parts that have kernels, one of each name."""
    return list({part.name: part for part in reversed(found) if part.name}.values())[::-1]


def _imports(model: Model, text: str) -> str:
    """The imports of what a text uses."""

    def used(*names: str) -> list[str]:
        return [name for name in names if re.search(rf"(?<![\w.]){name}\b", text)]

    lines = ["import triton\nimport triton.language as tl"] if used("triton") else []
    lines.append("from torch import Tensor, nn\n")
    support = used("_epilogue", "_launch", "_runtime")
    lines += [f"from . import {', '.join(support)}"] if support else []
    for each in sorted(model.activations, key=lambda each: each.name):
        inner = inner_name(each.name)
        ends = ("", "_curvature_formula", "_formula", "_grad", "_grad_formula")
        names = used(*(f"{inner}{end}" for end in ends))
        lines += [f"from .{each.name} import {', '.join(names)}"] if names else []
        for own, name in (("_check", f"{each.name}_check"), (each.name, f"{each.name}_function")):
            lines += [f"from .{each.name} import {own} as {name}"] if used(name) else []
    return "\n".join(lines) + "\n"


def kernel_sources(part: Part) -> list[tuple[str, str]]:
    """The kernels of a part that has some."""
    given = [(each.name, each.parameters) for each in chains(part)]
    return epilogue.kernels(part.family, part.name, given, part.residual)


def _definitions(part: Part, digest: str) -> list[str]:
    """The kernels of a part and what launches them."""
    found = chains(part)
    if part.layer is None:
        return [*found[0].jit(), *_operator(found[0], digest)]
    sources = kernel_sources(part)
    kernels = ", ".join(name for name, _ in sources)
    before, after, *rest = (f"{each.name}_torch" for each in found)
    later = f", {rest[0] if rest else '_epilogue.identity'}" if part.residual else ""
    return [
        *(text for each in found for text in each.jit()),
        *(text for _, text in sources),
        *(each.torch() for each in found),
        f"{part.name} = _epilogue.{epilogue.CLASSES[part.family]}({before}, {after}, ({kernels}){later})\n",
    ]


def _operator(chain: Chain, digest: str) -> Iterator[str]:
    """Activations in sequence as one of PyTorch's operators."""
    name, parameters = chain.name, chain.parameters
    said = "elements `start` to `n`."
    yield triton.kernel(f"{name}_kernel", name, f"out = f(x), for {said}", parameters, gradient=False)
    yield triton.kernel(
        f"{name}_grad_kernel", f"{name}_grad", f"out = grad * f'(x), for {said}", parameters, gradient=True
    )
    yield from chain.formulas()
    listed = "".join(f'"{each}", ' for each in parameters)
    yield (
        f"{name}_operator = _runtime.Operator(\n"
        f'    "{name.strip("_")}",\n'
        f"    kernels=({name}_kernel, {name}_grad_kernel),\n"
        f"    formulas=({name}_formula, {name}_grad_formula, {name}_curvature_formula),\n"
        f"    parameters=({listed}),\n"
        f'    version="{digest[:8]}",\n)\n'
    )


def header(model: Model) -> str:
    """What a module says about its model."""
    lines = [report.wrap(f"model {model.signature} = {model.formula}")]
    if model.doc:
        lines += ["", model.doc]
    lines += ["", "Passes over memory", *(f"    {line}" for said in passes(model) for line in said)]
    lines += ["", "Layers", *(f"    {line}" for line in layers(model))]
    return "\n".join(lines)


_PASSES = {
    "product": ["{layer}: PyTorch's"],
    "activations": ["{chain}: one read, one write; backward the same"],
    "channels": [
        "{chain}: in training a read for the statistics, then a read and a write; backward the same of two",
        "    tensors. In eval mode a read and a write.",
    ],
    "groups": [
        "{chain}: a read for the statistics, then a read and a write; backward the same of two tensors",
    ],
    "rows": ["{chain}: one read, one write; backward the same"],
    "residual": ["{chain}: two reads, one write, PyTorch's; backward nothing"],
}


def passes(model: Model) -> list[list[str]]:
    """What runs together, and what it reads and writes: the lines on each part."""
    return [_passes(part) for part in named(model)]


def _passes(part: Part) -> list[str]:
    layer = part.layer.attribute if part.layer else ""
    before = [_activation(each).name for each in part.before]
    after = [_activation(each).name for each in part.after]
    added = ["residual"] if part.residual else []
    later = [_activation(each).name for each in part.later or ()]
    chain = " -> ".join([*before, *([layer] if layer else []), *after, *added, *later])
    lines = [line.format(layer=layer, chain=chain) for line in _PASSES[part.family]]
    if part.normalises and part.residual:
        lines.append("    The residual: a read; backward " + ("a read and a write" if later else "nothing"))
    return lines


def layers(model: Model) -> Iterator[str]:
    """The layers that a model holds, each with what makes it."""
    for stage in model.stages:
        if stage.attribute:
            yield f"{stage.attribute} = {constructor(stage)}"


def constructor(stage: Stage) -> str:
    """The call that makes a stage's layer."""
    assert isinstance(stage.what, Layer)
    positional = [name for name, _ in stage.what.arguments][: stage.what.required]
    given = [value if name in positional else f"{name}={value}" for name, value in stage.arguments]
    return f"nn.{stage.what.module}({', '.join(given)})"


def signature(model: Model) -> str:
    """The arguments of the constructor, each with a comma before it."""
    declared = ""
    for each in model.arguments:
        default = "" if each.default is None else f" = {each.default}"
        declared += f", {each.name}: {each.type}{default}"
    return declared


def settings(model: Model, found: Sequence[Part]) -> dict[int, str]:
    """The source of the activations' parameters, by the place of their part in the model."""
    kept = {}
    for place, part in enumerate(found):
        values = [_given(stage) for stage in (*part.before, *part.after, *(part.later or ()))]
        flat = [f"float({value})" for each in values for value in each]
        if flat:
            kept[place] = ", ".join(flat)
    return kept


def _given(stage: Stage) -> list[str]:
    """The parameters of an activation as its stage gives them, or their defaults."""
    given = dict(stage.arguments)
    found = []
    for each in _activation(stage).parameters:
        default = "" if each.default is None else number(each.default)
        found.append(given.get(each.name, default))
    return found


def _checks(model: Model) -> list[str]:
    """Calls that refuse parameters which break an activation's constraints."""
    return [
        f"{_activation(stage).name}_check({', '.join(_given(stage))})"
        for stage in model.stages
        if isinstance(stage.what, Activation) and stage.what.requires
    ]


def cls(model: Model, found: Sequence[Part], name: str = "") -> str:
    """The class of a model."""
    kept = settings(model, found)
    said = f"{model.name} = {model.formula}"
    lines = [
        f"class {name or model.class_name}(nn.Module):",
        f"    {docstring(report.wrap(said) if len(said) > 100 else said, '    ')}",
        "",
        f"    def __init__(self{signature(model)}) -> None:",
        "        super().__init__()",
        *(
            f"        self.{stage.attribute} = {constructor(stage)}"
            for stage in model.stages
            if stage.attribute
        ),
        *(f"        {check}" for check in _checks(model)),
        *(f"        self._settings{place} = ({values},)" for place, values in kept.items()),
        "",
        "    def forward(self, x: Tensor) -> Tensor:",
        '        """The stages in order."""',
        *(["        residual = x"] if any(part.residual for part in found) else []),
    ]
    conv = None
    for place, (part, later) in enumerate(zip_longest(found, found[1:])):
        if _is_taken_in(part, later):
            conv = part.layer
            continue
        head = "return" if later is None else "x ="
        lines.append(f"        {head} {_call(part, place if place in kept else None, conv)}")
        conv = None
    return "\n".join(lines) + "\n"


def _is_taken_in(part: Part, later: Part | None) -> bool:
    """Whether the next part calls this one: kernels over channels add a convolution's bias on their way."""
    layer = part.layer.what if part.layer else None
    is_convolution = isinstance(layer, Layer) and layer.attribute == "conv"
    return is_convolution and later is not None and later.family == "channels"


def _call(part: Part, kept: int | None, conv: Stage | None = None) -> str:
    if part.family == "product":
        assert part.layer is not None
        return f"self.{part.layer.attribute}(x)"
    if part.layer is None:
        function = f"{part.name}_operator" if part.name else f"{_activation(part.before[0]).name}_function"
        return f"{function}(x{'' if kept is None else f', *self._settings{kept}'})"
    if part.family == "residual":
        return "x + residual"
    given = ""
    if kept is not None:
        ends = list(accumulate(len(each.parameters) for each in chains(part)))[:-1]
        slices = [f"{start}:{end}" for start, end in pairwise(["", *ends, ""])]
        names = ("", "", "later=")
        given = "".join(
            f", {name}self._settings{kept}[{each}]" for name, each in zip(names, slices, strict=False)
        )
    taken = f", conv=self.{conv.attribute}" if conv else ""
    added = ", residual=residual" if part.residual else ""
    return f"{part.name}(x, self.{part.layer.attribute}{given}{taken}{added})"
