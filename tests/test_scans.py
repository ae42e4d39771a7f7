"""Results that a GPU made and the repository keeps, held to what the specs promise now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsl.certificate import bound
from dsl.project import read_project

ROOT = Path(__file__).parent.parent

SPECS = {each.name: each for each in read_project([ROOT / "specs"]).checked().activations}
FOUND = json.loads((ROOT / "benchmarks/results/every_input.json").read_text(encoding="utf-8"))["every input"]
OURS = [row for row in FOUND if row["by"] == "ours"]


@pytest.mark.parametrize("name", dict.fromkeys(row["name"] for row in OURS))
def test_every_input_keeps_the_bounds(name: str) -> None:
    for row in (row for row in OURS if row["name"] == name):
        assert row["tried"] == (2**32 if row["dtype"] == "float32" else 2**16), row
        assert row["ulp"] <= bound(SPECS[name].accuracy, row["dtype"], row["kind"]), row
        assert not row["wrong"], row
        assert not row["signs"], row


def test_worst_inputs_were_evaluated_exactly() -> None:
    assert all(row["confirmed"] for row in FOUND if row["ulp"])
