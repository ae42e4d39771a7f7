"""A compiler from activation functions, written as formulas, to Triton kernels and torch modules.

`dsl.compile` makes a module from a formula at run time; `dsl.replace` puts modules in the place of others.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsl.runtime import compile as compile  # noqa: A004 - as in re.compile
    from dsl.swap import Replacement as Replacement
    from dsl.swap import replace as replace

__version__ = "0.1.0"

__all__ = ["Replacement", "compile", "replace"]

_PLACES = {"Replacement": "dsl.swap", "compile": "dsl.runtime", "replace": "dsl.swap"}
"""Where names come from when they are asked for: the command needs none, and they bring torch."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'dsl' has no attribute {name!r}")
    for needed in ("torch", "triton"):
        if find_spec(needed) is None:
            message = f"dsl.{name} needs {needed}, which is not installed: pip install 'dslgen[torch]'"
            raise ModuleNotFoundError(message, name=needed)
    value = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
