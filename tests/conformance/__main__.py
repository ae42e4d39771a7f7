"""Prints the table; exit code 1 if a check fails, 2 for wrong usage."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.subject import load
from tests.conformance.table import Found, checks, run


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for, and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--package", default="generated")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", metavar="NAME,...", help="these activations alone")
    parser.add_argument(
        "--checks", default="", metavar="TEXT,...", help="checks whose names hold one of these"
    )
    parser.add_argument("--jobs", type=int, default=1, help="so many processes share the activations")
    parser.add_argument("--json", type=Path, metavar="FILE", help="what was found, anew after every check")
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
    names = [s.name for s in subjects]
    found: dict[str, Found] = {}
    if chosen.jobs > 1:
        found = _shared(chosen, list(table), names)
    else:
        for name, check in table.items():
            began = time.monotonic()
            begun = f"{names[0]} to {names[-1]}, {name}: " if chosen.json else f"{name}: "
            if not chosen.json:  # where several processes print, whole lines alone
                print(begun, end="", file=sys.stderr, flush=True)  # by name, should a check take all down
                begun = ""
            found[name] = run(check, subjects)
            wrong = [f"\n  {who}: {text}" for who, text in found[name].items() if text]
            told = f"{begun}{len(wrong)} wrong, {time.monotonic() - began:.1f} s" + "".join(wrong[:SHOWN])
            print(told, file=sys.stderr, flush=True)
            if chosen.json:
                chosen.json.write_text(json.dumps(found), encoding="utf-8")
    print(shown(names, found))
    return any(text for row in found.values() for text in row.values())


SHOWN = 5
"""So many of what is wrong in a check are told at once, and all of it in the end."""


def _shared(chosen: argparse.Namespace, table: Sequence[str], names: Sequence[str]) -> dict[str, Found]:
    """What several processes find, each with a share of the activations."""
    found: dict[str, Found] = {check: {} for check in table}
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for number in range(min(chosen.jobs, len(names))):
            share, told = names[number :: chosen.jobs], Path(folder) / f"{number}.json"
            command = [sys.executable, "-m", "tests.conformance", "--package", chosen.package]
            command += ["--device", chosen.device, "--checks", chosen.checks]
            command += ["--only", ",".join(share), "--json", str(told)]
            processes.append((subprocess.Popen(command, stdout=subprocess.DEVNULL), share, told))
        for process, share, told in processes:
            code = process.wait()
            rows = json.loads(told.read_text(encoding="utf-8")) if told.exists() else {}
            ended = f"the process ended before that, with {code}"
            for check in table:
                found[check] |= rows.get(check) or dict.fromkeys(share, ended)
    return found


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
