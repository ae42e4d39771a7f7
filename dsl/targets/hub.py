"""What a kernel for the Hub has and a package has not: layers, and what it says of itself.

In: activations, and the digests of files. Out: Python source, not yet formatted, and JSON. What is written
here is what the `kernels` library asks of a kernel and checks when it puts a layer in the place of another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from dsl import report
from dsl.activation import Activation
from dsl.targets import joint, package
from dsl.targets.layout import docstring, inner_name

LICENSE = "mit"
"""The license of the support files, which are the greater part."""

VERSION = 1

_LAYERS = '''\
"""Layers that take the place of others: their `forward` runs as a method of the module that it replaces.

Such a layer has no state: its parameters are attributes of that module. Where it has `inplace`, that holds.
"""

from torch import Tensor, nn

{imports}

__all__ = {names}


{classes}
'''

_LAYER = '''\
class {name}(nn.Module):
    {doc}

    can_torch_compile: bool = True
    has_backward: bool = True
{attributes}
    def forward(self, {declared}) -> {returned}:
        """The activation of every element."""
{inplace}        return {function}({inputs}{passed})
'''

_INPLACE = """\
        if getattr(self, "inplace", False):
            return _runtime.overwrite({function}, {inputs}{passed})
"""

_INIT = '''\
"""Activation functions for PyTorch, each with a Triton kernel.

{names}.
"""

from . import layers
{imports}

__all__ = {exported}
'''


def layers(activations: Sequence[Activation]) -> str:
    """The source of `layers.py`: a stateless class for each activation."""
    imports = [
        f"from .{each.name} import {each.name} as {inner_name(each.name)}"
        for each in sorted(activations, key=lambda each: each.name)
    ]
    return _LAYERS.format(
        imports="\n".join(["from . import _runtime", *imports]),
        names=sorted((each.class_name for each in activations), key=package.sorting_key),
        classes="\n\n".join(map(_layer, activations)),
    )


def _layer(activation: Activation) -> str:
    names = [each.name for each in activation.settable]
    types = dict.fromkeys(names, "float") | {each.name: "Tensor" for each in activation.learned}
    dim = ', dim=getattr(self, "dim", 1)' if activation.channelled else ""
    arguments = [*names, *(["training"] if activation.random else [])]
    called = {
        "function": inner_name(activation.name),
        "inputs": ", ".join(activation.inputs),
        "passed": "".join(f", self.{name}" for name in arguments) + dim,
    }
    if activation.dim is not None:
        called["passed"] += ", self.dim"
    return _LAYER.format(
        name=activation.class_name,
        doc=docstring(report.summary(activation), "    "),
        attributes="".join(f"    {name}: {type_}\n" for name, type_ in types.items())
        + ("    dim: int\n" if activation.dim is not None else ""),
        declared=", ".join(f"{name}: Tensor" for name in activation.inputs),
        returned=joint.returned(activation),
        inplace=_INPLACE.format(**called) if activation.unary else "",
        **called,
    )


def init(activations: Sequence[Activation]) -> str:
    """The source of `__init__.py`, which gives functions, modules and layers."""
    ordered = sorted(activations, key=lambda each: each.name)
    exported = [name for each in ordered for name in package.public_names(each)]
    return _INIT.format(
        names=report.wrap(", ".join(each.name for each in ordered)),
        imports="\n".join(
            f"from .{each.name} import {', '.join(package.public_names(each))}" for each in ordered
        ),
        exported=sorted(["layers", *exported], key=package.sorting_key),
    )


def metadata(name: str, identifier: str, digests: Mapping[str, str]) -> str:
    """The text of `metadata.json`; `digests` are the files' SHA-256, in Base64."""
    said = {
        "name": name,
        "id": identifier,
        "version": VERSION,
        "license": LICENSE,
        "python-depends": [],
        # One build serves every backend, and the library knows no name for that; it compares no
        # architectures where none are given.
        "backend": {"type": "cuda"},
        "digest": {"algorithm": "sha256", "files": dict(sorted(digests.items()))},
    }
    return json.dumps(said, indent=2) + "\n"
