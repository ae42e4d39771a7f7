"""The text of a generated package's `__init__.py`.

In: the activations. Out: Python source that gives every function and module class by name, and imports a
submodule only when one of its names is asked for.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from dsl.activation import Activation
from dsl.model import Model

SHARED = ("get_compile_mode", "set_compile_mode", "warmup")
"""What a package exports beside its activations, from `_runtime.py`."""

_TEMPLATE = '''\
"""Activation functions for PyTorch, each with a Triton kernel.

{names}.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
{imports}

__all__ = {exported}

_MODULES = {modules}


class _Package(ModuleType):
    """A package whose functions win over the submodules of the same name.

    `import package.mish` binds the submodule to `package.mish`; here that name is the function, before and
    after.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {{__name__!r}} has no attribute {{name!r}}")
        module = importlib.import_module(f".{{_MODULES[name]}}", __name__)
        value = getattr(module, name)
        super().__setattr__(name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _MODULES.get(name) == name:
            value = getattr(value, name, value)
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({{*super().__dir__(), *__all__}})


sys.modules[__name__].__class__ = _Package
'''


def package_init(activations: Iterable[Activation | Model]) -> str:
    """The source of `__init__.py` for these activations."""
    ordered = sorted(activations, key=lambda activation: activation.name)
    modules = dict.fromkeys(SHARED, "_runtime")
    modules |= {name: activation.name for activation in ordered for name in public_names(activation)}
    imports = [f"    from .{module} import {name} as {name}" for name, module in modules.items()]
    return _TEMPLATE.format(
        names=textwrap.fill(", ".join(activation.name for activation in ordered), 100),
        imports="\n".join(imports),
        exported=sorted(modules, key=sorting_key),
        modules=dict(sorted(modules.items())),
    )


def public_names(activation: Activation | Model) -> tuple[str, ...]:
    """What a module exports: the function, its aliases and the class; of a model, the class alone."""
    if isinstance(activation, Model):
        return (activation.class_name,)
    return tuple(sorted({activation.name, *activation.aliases, activation.class_name}, key=sorting_key))


def sorting_key(name: str) -> tuple[int, str]:
    """The order in which linters want names: capitals, then classes, then functions.

    >>> sorted(["elu", "SiLU", "ELU"], key=sorting_key)
    ['ELU', 'SiLU', 'elu']
    """
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)
