"""The figures of docs/performance.md and docs/accuracy.md and the picture, from what was measured.

In: what `dslgen bench --json`, `build_speed.py --json`, `every_input.py --json` and `strangers.py` wrote.
Out: the parts of the pages between their marks, written in place, and docs/roof.svg if sizes were swept
(which needs matplotlib). With `--print`, the text alone on standard output.

    python benchmarks/table.py benchmarks/results/*.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "docs" / "performance.md", ROOT / "docs" / "accuracy.md")
PICTURE = ROOT / "docs" / "roof.svg"
DTYPES = ("float32", "float16", "bfloat16")
KINDS = ("value", "gradient")
FOUND = dict[str, Any]


def main(arguments: Sequence[str]) -> None:
    """Write every part of the page that the files have figures for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--print", action="store_true", dest="only_print")
    given = parser.parse_args(arguments)
    pages = {page: page.read_text(encoding="utf-8") for page in PAGES}
    for file in given.files:
        found = json.loads(file.read_text(encoding="utf-8"))
        for part, make in PARTS.items():
            if found.get(part):
                text = "\n".join(make(found))
                if given.only_print:
                    print(text, end="\n\n")
                    continue
                (page,) = (page for page, content in pages.items() if f"<!-- {part} -->" in content)
                pages[page] = between_marks(pages[page], part, text)
        if found.get("sweep") and not given.only_print:
            from roof import draw

            draw(found, PICTURE)
    for page, content in () if given.only_print else pages.items():
        page.write_text(content, encoding="utf-8")


def between_marks(page: str, part: str, text: str) -> str:
    """A page with what stands between `<!-- PART -->` and `<!-- end of PART -->` replaced.

    >>> between_marks("a\\n<!-- x -->\\nold\\n<!-- end of x -->\\nb\\n", "x", "new")
    'a\\n<!-- x -->\\n\\nnew\\n\\n<!-- end of x -->\\nb\\n'
    """
    begin, end = f"<!-- {part} -->", f"<!-- end of {part} -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        sys.exit(f"a page has no marks {begin} and {end}, once each")
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}"


def speed(found: FOUND) -> Iterator[str]:
    """A table for values and one for gradients, an activation a row; then the geometric means."""
    rows = {(row["name"], row["dtype"], row["kind"]): row for row in found["throughput"]}
    dtypes = list(dict.fromkeys(row["dtype"] for row in found["throughput"]))
    environment = found["environment"]
    rivals = list(dict.fromkeys(name for row in rows.values() for name in row["ms"] if name != "dslgen"))
    yield f"{environment['device']}, torch {environment['torch']}, Triton {environment['triton']},"
    yield f"{next(iter(rows.values()))['n']:,} elements; made by `{found['command']}`."
    absent = [f"{name} ({environment[name]})" for name in OTHERS if name not in rivals]
    if absent:
        yield f"Installed or not, without any of these operators: {', '.join(absent)}."
    for kind in KINDS:
        yield f"\n| {kind} | " + " | ".join(dtypes) + " |"
        yield "|---|" + "---|" * len(dtypes)
        for name in dict.fromkeys(name for name, _, _ in rows):
            cells = [_cell(rows.get((name, dtype, kind))) for dtype in dtypes]
            yield f"| {name} | " + " | ".join(cells) + " |"
    yield "\n| times as fast, geometric mean | " + " | ".join(rivals) + " |"
    yield "|---|" + "---|" * len(rivals)
    for dtype in dtypes:
        for kind in KINDS:
            chosen = [row for key, row in rows.items() if key[1:] == (dtype, kind) and "dslgen" in row["ms"]]
            yield f"| {dtype} {kind} | " + " | ".join(_mean(chosen, rival) for rival in rivals) + " |"


OTHERS = ("liger", "flaggems", "helion")
"""The libraries among the rivals."""


def _cell(row: dict[str, Any] | None) -> str:
    """The roof fraction; in brackets how many times as fast as eager, compile and the fastest library."""
    if row is None or "fraction" not in row:
        return "-"
    ms = row["ms"]
    ratios = [f"{ms[rival] / ms['dslgen']:.2f}" if rival in ms else "-" for rival in ("eager", "compile")]
    best = min((ms[name], name) for name in OTHERS if name in ms) if any(o in ms for o in OTHERS) else None
    if best is not None:
        ratios.append(f"{best[1]} {best[0] / ms['dslgen']:.2f}")
    return f"{row['fraction']:.2f} ({', '.join(ratios)})"


def _mean(rows: Sequence[dict[str, Any]], rival: str) -> str:
    ratios = [row["ms"][rival] / row["ms"]["dslgen"] for row in rows if rival in row["ms"]]
    return f"{geometric_mean(ratios):.2f}" if ratios else "-"


def host(found: FOUND) -> Iterator[str]:
    """The host's cost of a call, an activation a row."""
    columns = ("value", "value with gradient", "backward")
    yield "| µs, dslgen / eager | " + " | ".join(columns) + " |"
    yield "|---|---|---|---|"
    for row in found["host"]:
        cells = [
            f"{ours:.1f} / {theirs:.1f}" for ours, theirs in zip(row["dslgen"], row["eager"], strict=True)
        ]
        yield f"| {row['name']} | " + " | ".join(cells) + " |"


def odd(found: FOUND) -> Iterator[str]:
    """The picture, and roof fractions where no vector divides the size or the address."""
    yield "![The fraction of the roof that is reached, against the number of elements](roof.svg)\n"
    large = max(row["n"] for row in found["throughput"])
    rows = [row for row in found["sweep"] if row["n"] in (large, large - 1)]
    places = list(dict.fromkeys((row["n"], row["offset"]) for row in rows))
    names = [f"{n:,} elements" + (f", {offset} past a boundary" if offset else "") for n, offset in places]
    yield "| | " + " | ".join(names) + " |"
    yield "|---|" + "---|" * len(places)
    for key in dict.fromkeys((row["name"], row["dtype"], row["kind"]) for row in rows):
        cells = {
            (row["n"], row["offset"]): f"{row['fraction']:.2f}"
            for row in rows
            if (row["name"], row["dtype"], row["kind"]) == key
        }
        yield f"| {' '.join(key)} | " + " | ".join(cells[place] for place in places) + " |"


def builds(found: FOUND) -> Iterator[str]:
    """How long the tool itself takes, a build a row."""
    yield f"Python {found['python']}, {found['processors']} processors (load {found['load']:.1f});"
    yield f"made by `{found['command']}`.\n"
    yield "| build | seconds | of the processors | to reach |"
    yield "|---|---|---|---|"
    for row in found["builds"]:
        yield f"| {row['what']} | {row['seconds']:.3g} | {row['cpu']:.3g} | {row.get('reach', '')} |"


def every_input(found: FOUND) -> Iterator[str]:
    """Worst errors in ulps, value / gradient, ours beside PyTorch's."""
    rows = {
        (row["name"], row["dtype"], row["kind"], row["by"] == "ours"): row for row in found["every input"]
    }
    names = list(dict.fromkeys(row["name"] for row in found["every input"]))
    yield f"{found['device']}, torch {found['torch']}, triton {found['triton']}: `{found['command']}`."
    yield ""
    heads = [f"{dtype}, {who}" for dtype in DTYPES for who in ("ours", "PyTorch")]
    yield f"| ulp, value / gradient | {' | '.join(heads)} |"
    yield "|---" * (len(heads) + 1) + "|"
    for name in names:
        cells = [
            " / ".join(_error(rows.get((name, dtype, kind, ours))) for kind in KINDS)
            for dtype in DTYPES
            for ours in (True, False)
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def _error(row: dict[str, Any] | None) -> str:
    """The worst error; NaN where a NaN or an infinity stands in a wrong place."""
    if row is None:
        return "-"
    error = max(float(row["ulp"]), float(row["near roots"] or 0))
    text = f"{error:.3g}" if error < 1000 else f"{error:.1e}".replace("e+0", "e")
    return f"{text}, NaN" if row["wrong"] else text


def strangers(found: FOUND) -> Iterator[str]:
    """Worst errors of the sixty formulas, what is beyond reach in bold."""
    columns = ("float32 value", "float32 gradient", "bfloat16 value", "bfloat16 gradient")
    reach = {"float32 value": 8.0, "float32 gradient": 16.0}
    yield f"| ulp | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, row in found["formulas"].items():
        cells = []
        for column in columns:
            cell = row.get(column)
            if cell is None:
                cells.append("**not built**")
                continue
            text = "wrong NaN" if cell["failed"] else f"{cell['ulp']:.3g}"
            fine = not cell["failed"] and cell["ulp"] <= reach.get(column, 1.0)
            cells.append(text if fine else f"**{text}**")
        yield f"| {name} | {' | '.join(cells)} |"


PARTS: dict[str, Callable[[FOUND], Iterator[str]]] = {
    "throughput": speed,
    "host": host,
    "sweep": odd,
    "builds": builds,
    "every input": every_input,
    "formulas": strangers,
}
"""The parts of the page by the key of their rows in the files."""

if __name__ == "__main__":
    main(sys.argv[1:])
