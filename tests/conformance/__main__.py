"""Prints the table; exit code 1 if a check fails, 2 for wrong usage."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tests.conformance.subject import load
from tests.conformance.table import checks, run


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for, and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--package", default="generated")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", metavar="NAME,...", help="these activations alone")
    parser.add_argument(
        "--checks", default="", metavar="TEXT,...", help="checks whose names hold one of these"
    )
    chosen = parser.parse_args(arguments)
    wanted = [text for text in chosen.checks.split(",") if text]
    table = {
        name: check
        for name, check in checks(chosen.device).items()
        if not wanted or any(text in name for text in wanted)
    }
    try:
        subjects = load(chosen.package, chosen.device, [name for name in chosen.only.split(",") if name])
    except LookupError as error:
        parser.error(str(error))
    if not table or not subjects:
        parser.error("nothing to check")
    found = {}
    for name, check in table.items():
        began = time.monotonic()
        print(f"{name}: ", end="", file=sys.stderr, flush=True)  # by name, should a check take all down
        found[name] = run(check, subjects)
        wrong = sum(text is not None for text in found[name].values())
        print(f"{wrong} wrong, {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    print(shown([s.name for s in subjects], found))
    return any(text for row in found.values() for text in row.values())


def shown(names: Sequence[str], found: dict[str, dict[str, str | None]]) -> str:
    """The table: a row for every check, a column for every activation; then what is wrong."""
    width = max(map(len, found)) + 2
    lines = [" " * width + "| " * place + name for place, name in enumerate(names)]
    for check, row in found.items():
        lines.append(f"{check:{width}}" + " ".join("!" if row[name] else "+" for name in names))
    wrong = [f"{name}, {check}: {row[name]}" for check, row in found.items() for name in names if row[name]]
    lines.append(f"{len(names)} activations by {len(found)} checks, {len(wrong)} wrong")
    return "\n".join(lines + wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
