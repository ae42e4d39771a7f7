"""Formulas to modules at run time: `dsl.compile`.

In: a formula or definitions, as text. Out: an `nn.Module` of a class in a file of the cache, made by the
compiler that makes a package for `dslgen build`.

The file is a real one because Triton and tracebacks read sources from files. Its name holds the digest of
what it was made from, so that another formula, or another compiler, makes another file.
"""

from __future__ import annotations

import copyreg
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module, invalidate_caches
from inspect import getmodule, getsource
from math import isfinite
from textwrap import dedent
from typing import TYPE_CHECKING, Any, NamedTuple

from dsl import cache as store
from dsl import compiled
from dsl.activation import Activation, with_defaults
from dsl.build import Output, compiler, module_output, plan_outputs, support_outputs
from dsl.errors import Span, SpecError, SpecErrors, did_you_mean
from dsl.resolve import activations

if TYPE_CHECKING:
    from torch import nn

_PATH = "<formula>"
_HEAD = re.compile(r"\)\s*=(?!=)")
"""A single equals sign after a bracket: it stands in the head of a definition and nowhere else."""

_COMMENT = re.compile(r"#.*")

_HELP = {"E0106": "the input is 'x', and a parameter is given as a keyword argument"}
"""What to do about an error where a formula has no head to declare names in."""


class Source(NamedTuple):
    """What a class is compiled from: all that a pickle has to hold of it."""

    text: str
    parameters: tuple[str, ...]
    name: str | None


_SOURCES: dict[type[nn.Module], Source] = {}


class _Shown:
    """An attribute of the modules made here, beside which a parameter of its name wins."""

    def __init__(self, give: Callable[[nn.Module], Any]) -> None:
        self._give = give

    def __get__(self, layer: nn.Module | None, owner: type[nn.Module]) -> Any:
        return self if layer is None else self._give(layer)


def compile(  # noqa: A001 - as in re.compile
    text: str, /, *, name: str | None = None, inplace: bool = False, **parameters: float
) -> nn.Module:
    """A module that computes a formula elementwise, with a Triton kernel and a stable derivative.

    `text` is a formula in `x`, whose parameters are the keyword arguments, and which is called `name`; or
    definitions as they stand in a `.act` file, of which `name` selects one. The module takes tensors of
    float16, bfloat16, float32 or float64 of any shape, and gives tensors like them. Modules of one text share
    their class, whatever their parameters' values: `type(module)`, which takes the parameters and `inplace`.

    Beside what modules have, there is `source`, the generated code; `certificate`, its errors against exact
    values, measured when they are first asked for, which takes a quarter of a minute; and `plot(low, high,
    dtype)`, a picture with a method `save`. A notebook shows formula, picture and certificate.

    Raises `SpecErrors` for what is wrong in the text; ValueError where `name` is no name or names nothing,
    or a parameter breaks a constraint; TypeError for a parameter that a definition lacks or does not have.

    >>> swish = compile("x * sigmoid(beta * x)", beta=1.5)
    >>> swish
    Formula(beta=1.5)
    >>> import torch
    >>> swish(torch.zeros(2, 3)).shape
    torch.Size([2, 3])
    """
    text = dedent(text).strip()
    declared = () if defines(text) else tuple(parameters)
    options = {"inplace": True} if inplace else {}  # modules of several inputs have no such option
    return _class(Source(text, declared, name))(**parameters, **options)


def module(activation: Activation) -> type[nn.Module]:
    """The class of an activation's module: compiled and written unless the cache has it, and imported."""
    output = module_output(activation)
    stem = f"{activation.name}_{output.inputs[:16]}"
    _write([replace(output, name=f"{stem}.py"), *support_outputs()])
    made: type[nn.Module] = getattr(import_module(f"{compiled.__name__}.{stem}"), activation.class_name)
    return made


@cache
def _class(source: Source) -> type[nn.Module]:
    """The class of a source."""
    activation = _select(source) if defines(source.text) else _formula(source)
    made = module(activation)
    _SOURCES[made] = source
    for name, give in _shown(activation).items():
        setattr(made, name, _Shown(give))
    copyreg.pickle(made, _reduce)
    return made


def _shown(activation: Activation) -> dict[str, Callable[[nn.Module], Any]]:
    """What can be asked of a module besides its results."""
    from dsl import notebook

    def values(layer: nn.Module) -> dict[str, float]:
        given = {each.name: getattr(layer, each.name) for each in activation.parameters}
        for each in activation.learned:  # As trained; of one with a value for each channel, the initial one.
            held = getattr(layer, each.name).detach().flatten().tolist()
            given |= dict(zip(each.entries, held, strict=True)) if len(held) == len(each.entries) else {}
        return {
            name: value for name, value in given.items() if isinstance(value, int | float) and isfinite(value)
        }

    def plot(layer: nn.Module) -> Callable[..., notebook.Picture]:
        def draw(low: float = -10, high: float = 10, dtype: str = "float32") -> notebook.Picture:
            return notebook.picture(with_defaults(activation, values(layer)), low, high, dtype)

        return draw

    def bundle(layer: nn.Module) -> Callable[..., dict[str, str]]:
        def show(include: object = None, exclude: object = None) -> dict[str, str]:
            return {"text/plain": repr(layer), "text/html": notebook.as_html(activation, values(layer))}

        return show

    return {
        "source": lambda layer: getsource(getmodule(type(layer)) or type(layer)),
        "certificate": lambda _: notebook.certify(activation),
        "plot": plot,
        "_repr_mimebundle_": bundle,
    }


def defines(text: str) -> bool:
    """Whether a text has definitions, and is not a formula alone."""
    return _HEAD.search(_COMMENT.sub("", text)) is not None


def _formula(source: Source) -> Activation:
    """The activation that a formula without a head is the right side of."""
    name = source.name or "formula"
    for each in (name, *source.parameters):
        if not (isinstance(each, str) and each.isidentifier()):
            raise ValueError(f"{each!r} is not a name")
    inputs = "; ".join(filter(None, ["x", ", ".join(source.parameters)]))
    try:
        # The head has a line of its own, so that the formula stands in messages as it was written.
        (activation,) = activations(f"{name}({inputs}) =\n{source.text}", _PATH)
    except SpecErrors as found:
        raise SpecErrors(map(without_head, found.errors)) from None
    return activation


def without_head(error: SpecError) -> SpecError:
    """An error of a formula, whose head had a line of its own before it."""
    help_ = error.suggestion or _HELP.get(error.code)
    fix = None if error.fix is None else replace(error.fix, span=_line_before(error.fix.span))
    return SpecError(error.code, error.message, _line_before(error.span), error.source_line, help_, fix)


def _line_before(span: Span) -> Span:
    return replace(span, line=span.line - 1, end_line=span.end_line - 1)


def _select(source: Source) -> Activation:
    """The one definition of a text, or the one that is named."""
    found = activations(source.text, _PATH)
    names = [activation.name for activation in found]
    if source.name is None:
        if len(found) > 1:
            raise ValueError(f"the text defines {', '.join(names)}: say which with name=")
        return found[0]
    for activation in found:
        if source.name in (activation.name, *activation.aliases):
            return activation
    suggestion = did_you_mean(source.name, names) or f"the text defines {', '.join(names)}"
    raise ValueError(f"no definition '{source.name}': {suggestion}")


def _write(outputs: Sequence[Output]) -> None:
    """Put files where `dsl.compiled` imports from, unless they are there and nobody has edited them."""
    folder = store.folder() / compiler()
    try:
        plan_outputs(outputs, folder).apply()
    except OSError as reason:
        folder = store.spare_folder(reason) / compiler()
        plan_outputs(outputs, folder).apply()
    if str(folder) not in compiled.__path__:
        compiled.__path__.append(str(folder))
    invalidate_caches()


def _reduce(layer: nn.Module) -> tuple[Any, ...]:
    """What pickle and copy keep of a module: what its class is compiled from, and its state."""
    return _bare, (_SOURCES[type(layer)],), layer.__dict__


def _bare(source: Source) -> nn.Module:
    made = _class(source)
    return made.__new__(made)
