"""What the scripts in benchmarks/ make of figures; the figures themselves need the machines."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that imports a script by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


@pytest.mark.parametrize("name", ["table", "launch_search", "build_speed", "comparison"])
def test_examples(scripts: Any, name: str) -> None:
    tried = doctest.testmod(scripts(name))
    assert tried.attempted
    assert not tried.failed


def row(name: str, kind: str, n: int, ours: float, **others: float) -> dict[str, Any]:
    ms = {"dslgen": ours, **others}
    place = {"name": name, "dtype": "float32", "kind": kind, "n": n, "offset": 0}
    return {**place, "roof": 1.0, "ms": ms, "fraction": 1.0 / ours}


def test_the_table_has_a_cell_for_each_figure(scripts: Any) -> None:
    table = scripts("table")
    found = {
        "command": "dslgen bench",
        "environment": {
            "device": "GPU",
            "torch": "2",
            "triton": "3",
            "liger": "1",
            "flaggems": "2",
            "helion": "3",
        },
        "throughput": [
            row("f", "value", 8, 1.25, eager=2.5, compile=1.25, helion=1.5),
            row("f", "gradient", 8, 1.0, eager=4.0),
        ],
    }
    lines = list(table.speed(found))
    assert "| f | 0.80 (2.00, 1.00, helion 1.20) |" in lines
    assert "| f | 1.00 (4.00, -) |" in lines
    assert "| float32 gradient | 4.00 | - | - |" in lines
    assert any("liger (1), flaggems (2)" in line for line in lines)


def test_the_page_has_a_place_for_every_part(scripts: Any) -> None:
    table = scripts("table")
    page = "".join(page.read_text(encoding="utf-8") for page in table.PAGES)
    for part in table.PARTS:
        assert f"\n\nnew {part}\n\n" in table.between_marks(page, part, f"new {part}")


def test_one_launch_for_all_is_the_one_that_is_never_far_off(scripts: Any) -> None:
    search = scripts("launch_search")
    rows = [
        {"dtype": "float32", "all": {"1024/4": 1.0, "2048/4": 1.01}},
        {"dtype": "float32", "all": {"1024/4": 1.2, "2048/4": 1.0}},
    ]
    first, second = search.single_choices(rows, "float32")
    assert first.startswith("2048/4 1.0%")
    assert second.startswith("1024/4 20.0%")
