"""`inspect`, `bench`, `profile` and `tune`: what kernels cost, counted or measured."""

from __future__ import annotations

import re
import sys
from itertools import product
from pathlib import Path
from shlex import join

import click

from dsl.cli.chosen import (
    configuration,
    elementwise,
    listed,
    named,
    need,
    of_one_input,
    of_one_output,
    read_specs,
    without_learned,
)
from dsl.cli.options import DTYPE, DTYPES, ERROR_FORMAT, PATHS
from dsl.cli.said import finish


@click.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every kernel of the package.")
@click.option(
    "--target", default="sm_90", show_default=True, help="sm_80, gfx942, h200, rtx-4090 and the like."
)
@click.option("--dtypes", default="float32,bfloat16", show_default=True, help="Types, with commas between.")
@click.option("--write", type=click.Path(path_type=Path), help="Write the counts to this file, as JSON.")
@click.option(
    "--check", type=click.Path(path_type=Path), help="Hold them to this file; exit with 1 if they differ."
)
def inspect(
    names: tuple[str, ...],
    everything: bool,
    target: str,
    dtypes: str,
    write: Path | None,
    check: Path | None,
) -> None:
    """Count the machine instructions of generated kernels, by compiling them for a GPU. Needs none.

    NAMES are activations of the generated package. Per element: instructions, and those of the slow unit;
    registers; bytes of local memory; branches; the widths of loads and stores in bits. Of a GPU that is known
    by name also how long that takes, and what limits it.
    """
    need("torch", "triton")
    if bool(names) == everything:
        raise click.UsageError("name some activations, or --all")
    if check is not None and write is not None:
        raise click.UsageError("--write or --check, not both")
    from dsl import inspect as counting
    from dsl.bench.run import load
    from dsl.files import read_text, write_atomic

    package = load(configuration().out)
    chosen = listed("NAMES", ",".join(names), counting.activations(package))
    text = None if check is None else read_text(check)
    if check is not None and text is None:
        raise click.ClickException(f"{check}: no such file; make it by --write")
    try:
        rows = counting.table(package, target, listed("--dtypes", dtypes, DTYPES), chosen)
    except counting.UnknownTarget as error:
        raise click.UsageError(str(error)) from None
    if write is not None:
        write_atomic(write, counting.as_json(rows))
        return
    if text is None:
        click.echo(
            "\n\n".join(filter(None, [counting.as_markdown(rows), counting.predictions(rows, target)]))
        )
        return
    version, before = counting.from_json(text)
    if version != counting.TRITON:
        raise click.ClickException(f"{check} was made with Triton {version}, and this is {counting.TRITON}")
    found = counting.differences(before, rows)
    click.echo("\n".join(found), nl=bool(found))
    if found:
        finish(f"{len(found)} of {len(rows)} kernels differ; to accept that, --write {check}")


@click.command()
@PATHS
@click.option("--device", help="Where to measure; otherwise this machine's GPU.")
@click.option(
    "--dtypes", default="float32,bfloat16,float16", show_default=True, help="Types, with commas between."
)
@click.option("--elements", type=click.IntRange(1), help="Size of the tensors; otherwise 130,056,192.")
@click.option("--sweep", default="", metavar="NAME,...", help="Measure these at every size and offset, too.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write all figures to this file.")
@click.option(
    "--plan", type=click.Path(path_type=Path), help="Measure nothing; write what a run needs to know."
)
@ERROR_FORMAT
def bench(
    paths: tuple[Path, ...],
    device: str | None,
    dtypes: str,
    elements: int | None,
    sweep: str,
    file: Path | None,
    plan: Path | None,
    error_format: str,
) -> None:
    """Time the generated package against a copy, PyTorch, torch.compile and the libraries that are installed.

    On a machine without the compiler: `dslgen bench --plan FILE` here, `python -m dsl.bench FILE` there.
    """
    from dsl.bench.plan import plan as make_plan
    from dsl.bench.plan import write_plan

    config = configuration()
    activations = elementwise(read_specs(paths).checked().activations, "timed (benchmarks/rows.py does)")
    cases = make_plan(of_one_output(without_learned(activations, "timed")))
    if plan is not None:
        write_plan(cases, plan)
        return
    need("torch", "triton")
    from dsl.bench.clock import NoDevice
    from dsl.bench.run import Options, run

    defaults = Options()
    options = Options(
        device=device,
        dtypes=listed("--dtypes", dtypes, DTYPES),
        elements=elements or defaults.elements,
        sweep=listed("--sweep", sweep, [case.name for case in cases]),
        json=file,
    )
    try:
        code = run(cases, config.out, options, join(["dslgen", *sys.argv[1:]]))
    except NoDevice as error:
        raise click.ClickException(str(error)) from None
    sys.exit(code)


@click.command()
@click.argument("name", required=False)
@click.option("--shape", default="4096,393216", show_default=True, help="The input's shape.")
@DTYPE
@click.option("--gradient", is_flag=True, help="Profile the backward pass, too.")
@click.option("--arguments", default="", help="What a model is made with: 64,128,3.")
@click.option(
    "--csv", "recorded", type=click.Path(path_type=Path), help="Read what ncu printed; run nothing."
)
@click.option("--json", "machine", is_flag=True, help="Write the metrics as JSON.")
def profile(
    name: str | None,
    shape: str,
    dtype: str,
    gradient: bool,
    arguments: str,
    recorded: Path | None,
    machine: bool,
) -> None:
    """Profile the kernels of NAME, an activation or a model of the package, with Nsight Compute.

    Needs a GPU and ncu. Six metrics of every launch, and what they mean: bound by memory, by the issue of
    instructions, or by latency.
    """
    if (name is None) == (recorded is None):
        raise click.UsageError("name an activation or a model, or give --csv")
    from dsl import profiler

    out = configuration().out
    try:
        text = (
            _text(recorded)
            if recorded is not None
            else _profiled(name or "", shape, dtype, gradient, arguments, out)
        )
        found = profiler.parse(text)
    except profiler.NoProfiler as error:
        raise click.ClickException(str(error)) from None
    click.echo(profiler.as_json(found) if machine else profiler.as_text(found), nl=not machine)


def _text(path: Path) -> str:
    from dsl.files import read_text

    text = read_text(path)
    if text is None:
        raise click.ClickException(f"{path}: no such file")
    return text


def _profiled(name: str, shape: str, dtype: str, gradient: bool, arguments: str, package: Path) -> str:
    """What ncu prints of an activation's or a model's kernels."""
    from dsl import profiler

    project = read_specs(())
    model = next((each for each in project.models if each.name == name), None)
    if model is None:
        name, kernels = named(project, name)[0].name, f"^_{name}.*_kernel"
    else:
        name, kernels = model.class_name, "_kernel$"
    _numbers("--shape", shape)
    return profiler.run(profiler.program(str(package), name, shape, dtype, gradient, arguments), kernels)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """Numbers in a list with commas."""
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise click.UsageError(f"{option}: numbers with commas, such as 4096,393216")
    return tuple(map(int, text.split(",")))


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--dtypes", default="float32,bfloat16", show_default=True, help="Types, with commas between.")
@click.option(
    "--elements",
    type=click.IntRange(1),
    default=64 * 128 * 126 * 126,
    show_default=True,
    help="Size of the tensors.",
)
@click.option("--blind", is_flag=True, help="Do not ask ncu first; try everything near.")
@click.option("--dry-run", "dry", is_flag=True, help="Store nothing.")
def tune(names: tuple[str, ...], dtypes: str, elements: int, blind: bool, dry: bool) -> None:
    """Find the best launch of activations' kernels on this machine's GPU, and store it in the package.

    Tiles, warps and stages are tried only where a profile shows a need, and kept where they win by more than
    noise. The launch reads the result; nothing is tuned at run time.
    """
    need("torch", "triton")
    from dsl.bench.clock import NoDevice
    from dsl.progress import Progress
    from dsl.tune import as_text, store
    from dsl.tuned import Session

    project = read_specs(())
    chosen = [each for name in names for each in named(project, name)]
    out = configuration().out
    try:
        session = Session(out, elements)
    except NoDevice as error:
        raise click.ClickException(
            f"{error}; dslgen inspect NAME --target h200 predicts without one"
        ) from None
    found = {}
    learned = [each.name for each in chosen if each.learned]
    if learned:
        click.echo(f"with learnable parameters, and therefore not tuned: {', '.join(learned)}", err=True)
    tuned = [each.name for each in of_one_input(chosen, "tuned") if not each.learned]
    jobs = list(product(tuned, listed("--dtypes", dtypes, DTYPES)))
    try:
        with Progress() as progress:
            for place, (name, dtype) in enumerate(jobs):
                progress.show(place, len(jobs), f"{name} {dtype}")
                for key, result in session.results(name, dtype, profiled=not blind):
                    progress.clear()
                    click.echo(as_text(key, result) + "\n")
                    found[key] = result.best.choice
    except KeyboardInterrupt:
        if not dry:
            store(out, session.gpu, found)
        kept = "nothing is kept" if dry else f"{out} keeps the {len(found)} choices that were found"
        raise KeyboardInterrupt(kept) from None
    if not dry:
        store(out, session.gpu, found)
        click.echo(f"{out}: {len(found)} choices for {session.gpu}")
