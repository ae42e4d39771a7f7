"""An activation to be timed, as plain data: what `plan` writes and everything else reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """An activation to be timed.

    `parameters` are its arguments after the tensor, at their defaults (1 where there is none). `reference` is
    the dotted name of PyTorch's function, empty if the spec names none, and `arguments` the fixed ones it is
    called with. `plain` is the source of `plain(x)`, the formula as it is typed in torch. One of several
    `inputs` is called with as many tensors, or with one that holds them along its last dimension, "halves" or
    "interleaved", as `packed` says; then `plain` takes that one.
    """

    name: str
    class_name: str
    parameters: tuple[float, ...]
    reference: str
    arguments: tuple[tuple[str, str | float | bool], ...]
    plain: str
    inputs: int = 1
    packed: str = ""

    @property
    def label(self) -> str:
        """The case's name in rows and tables."""
        return f"{self.name} packed" if self.packed else self.name

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Case:
        """A case read back: JSON has no tuples.

        >>> Case.from_json({"name": "f", "class_name": "F", "parameters": [1.0], "reference": "torch.f",
        ...                 "arguments": [["approximate", "tanh"]], "plain": "def plain(x): ..."}).arguments
        (('approximate', 'tanh'),)
        """
        pairs = tuple((key, value) for key, value in row["arguments"])
        return cls(**{**row, "parameters": tuple(row["parameters"]), "arguments": pairs})
