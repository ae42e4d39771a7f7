"""Modules in the place of others, in a model that exists: `dsl.replace`.

In: a model, and what to put in the place of which class. Out: the model, and how many were replaced.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterator, Mapping
from copy import deepcopy
from typing import Any, NamedTuple, TypeAlias

from torch import nn

Substitute: TypeAlias = "type[nn.Module] | nn.Module | Callable[[nn.Module], nn.Module]"


class Replacement(NamedTuple):
    """A model with modules replaced, and how many of each class were."""

    model: nn.Module
    counts: dict[type[nn.Module], int]


def replace(model: nn.Module, mapping: Mapping[type[nn.Module], Substitute]) -> Replacement:
    """Put other modules in the place of every module of some classes, in the model itself.

    A class counts for itself and not for its subclasses: nn.ReLU6 is no nn.Hardtanh here, and a parametrized
    module is left alone. In its place comes what the mapping has for it: an instance of a class, with the
    settings of the old module's constructor (`negative_slope`, `inplace`); a copy of a module; or what a
    function makes of the old module. The new module is in training mode if the old one was. A module that the
    model uses in several places is replaced once and stays shared. If the model itself is of such a class,
    the result's `model` is its replacement; otherwise it is `model`.

    Raises TypeError for a mapping that is none; and, with the model left as it was, ValueError where
    something would be lost without a word: a setting that the new class does not take and that is not at its
    default, parameters, buffers, hooks. A function is free to lose them.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.LeakyReLU(0.2), nn.ReLU())
    >>> replace(model, {nn.LeakyReLU: nn.LeakyReLU, nn.ReLU: lambda old: nn.ELU(alpha=0.5)}).counts
    {<class 'torch.nn.modules.activation.LeakyReLU'>: 1, <class 'torch.nn.modules.activation.ReLU'>: 1}
    >>> model[1:]
    Sequential(
      (1): LeakyReLU(negative_slope=0.2)
      (2): ELU(alpha=0.5)
    )
    """
    for old_class, substitute in mapping.items():
        _check(old_class, substitute)
    counts = dict.fromkeys(mapping, 0)
    made: dict[nn.Module, nn.Module] = {}
    places = list(_places(model, frozenset(mapping)))
    for _, path, old in places:
        if old not in made:
            made[old] = _substitute(old, mapping[type(old)], path)
            counts[type(old)] += 1
    for parent, path, old in places:
        if parent is not None:
            setattr(parent, path.rpartition(".")[2], made[old])
    return Replacement(made.get(model, model), counts)


def _check(old_class: object, substitute: object) -> None:
    if not (isinstance(old_class, type) and issubclass(old_class, nn.Module)):
        raise TypeError(f"the keys are classes of modules, not {old_class!r}")
    if isinstance(substitute, type) and not issubclass(substitute, nn.Module):
        raise TypeError(f"{old_class.__name__}: {substitute.__name__} is no class of modules")
    if not callable(substitute):
        raise TypeError(
            f"{old_class.__name__}: {substitute!r} is no module, no class of modules and no function"
        )


def _places(
    model: nn.Module, classes: frozenset[type[nn.Module]]
) -> Iterator[tuple[nn.Module | None, str, nn.Module]]:
    """Every place of a module of the classes: its parent, its path in the model, itself."""
    if type(model) in classes:
        yield None, "", model
        return
    seen = {model}
    pending = [("", model)]
    while pending:
        prefix, parent = pending.pop()
        for name, child in parent._modules.items():  # named_children() leaves out what is shared.
            if child is None:
                continue
            if type(child) in classes:
                yield parent, prefix + name, child
            elif child not in seen:
                seen.add(child)
                pending.append((f"{prefix}{name}.", child))


def _substitute(old: nn.Module, substitute: Substitute, path: str) -> nn.Module:
    label = f"{path or 'the model'} ({type(old).__name__})"
    if isinstance(substitute, type):
        new = _construct(substitute, _settings(old, label), label)
    elif isinstance(substitute, nn.Module):
        _refuse_lost(_settings(old, label), vars(substitute), type(substitute).__name__, label)
        new = deepcopy(substitute)
    else:
        new = substitute(old)
        if not isinstance(new, nn.Module):
            raise TypeError(f"{label}: the function gave {new!r}, which is no module")
    return new.train(old.training)


def _construct(new_class: type[nn.Module], settings: Mapping[str, _Setting], label: str) -> nn.Module:
    """An instance of the new class, with the settings that its constructor takes."""
    taken = inspect.signature(new_class).parameters
    _refuse_lost(settings, taken, new_class.__name__, label)
    for name, parameter in taken.items():
        if parameter.kind not in _VARIADIC and parameter.default is parameter.empty and name not in settings:
            raise ValueError(f"{label}: it has no '{name}', which {new_class.__name__} needs; {_ADVICE}")
    return new_class(**{name: setting.value for name, setting in settings.items() if name in taken})


def _settings(old: nn.Module, label: str) -> dict[str, _Setting]:
    """What a module was constructed with, as far as its attributes of the same names tell."""
    if any(True for _ in (*old.parameters(), *old.buffers())):
        raise ValueError(f"{label}: it has parameters or buffers; {_ADVICE}")
    if "forward" in vars(old) or any(name.endswith("_hooks") and vars(old)[name] for name in vars(old)):
        raise ValueError(f"{label}: it has hooks, or a forward() of its own; {_ADVICE}")
    settings = {}
    for name, parameter in inspect.signature(type(old)).parameters.items():
        if name in vars(old):
            settings[name] = _Setting(vars(old)[name], parameter.default)
        elif parameter.kind not in _VARIADIC and parameter.default is not None:
            raise ValueError(f"{label}: it does not tell its '{name}'; {_ADVICE}")
    return settings


def _refuse_lost(settings: Mapping[str, _Setting], taken: Container[str], new: str, label: str) -> None:
    for name, setting in settings.items():
        if name not in taken and setting.value != setting.default:
            raise ValueError(f"{label}: {new} takes no '{name}', which is {setting.value!r} here; {_ADVICE}")


_ADVICE = "map its class to a function of the old module"
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class _Setting(NamedTuple):
    """What an argument of a constructor was, and what it is by default."""

    value: Any
    default: Any
