"""`python -m dsl.bench PLAN`: the benchmark on a machine that has torch, triton and the package alone."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dsl.bench.case import Case
from dsl.bench.clock import NoDevice
from dsl.bench.run import Options, kept, run


def main() -> int:
    """Run the benchmark of a plan that `dslgen bench --plan` wrote."""
    defaults = Options()
    parser = argparse.ArgumentParser(prog="python -m dsl.bench", description=__doc__)
    parser.add_argument("plan", type=Path, help="what `dslgen bench --plan FILE` wrote")
    parser.add_argument("--package", type=Path, default=Path("generated"), help="the package's directory")
    parser.add_argument("--only", default="", metavar="NAME,...", help="these activations alone")
    parser.add_argument("--device", help="default: this machine's GPU")
    parser.add_argument("--dtypes", default=",".join(defaults.dtypes))
    parser.add_argument("--elements", type=int, default=defaults.elements)
    parser.add_argument("--sweep", default="", metavar="NAME,...", help="at every size and offset, too")
    parser.add_argument("--rivals", default="", metavar="NAME,...", help="eager, compile and the like alone")
    parser.add_argument("--largest", type=int, default=defaults.largest, help="the sweep's last power of two")
    parser.add_argument("--workers", type=int, default=defaults.workers, help="processes that compile")
    parser.add_argument(
        "--seconds", type=float, default=defaults.seconds, help="begin nothing after this long"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    options = Options(
        device=given.device,
        dtypes=tuple(given.dtypes.split(",")),
        elements=given.elements,
        sweep=tuple(filter(None, given.sweep.split(","))),
        rivals=tuple(filter(None, given.rivals.split(","))),
        largest=given.largest,
        workers=given.workers,
        seconds=given.seconds,
        json=given.json,
    )
    cases = [Case.from_json(row) for row in json.loads(given.plan.read_text(encoding="utf-8"))]
    only = given.only.split(",") if given.only else [case.name for case in cases]
    command = f"python -m dsl.bench {kept(sys.argv[1:])}"
    try:
        return run([case for case in cases if case.name in only], given.package, options, command)
    except NoDevice as error:
        print(f"dsl.bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"dsl.bench: stopped: {stop}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
