"""`certify`: errors against exact values, kept in the lock file, and what the stabiliser found beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dsl.cli.chosen import configuration, read_specs
from dsl.cli.options import ERROR_FORMAT, PATHS


@click.command()
@PATHS
@click.option("--samples", type=click.IntRange(1), help="Inputs to try in float32 and float64.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes that measure.")
@click.option("--check", is_flag=True, help="Measure nothing; exit with 1 if the lock is stale.")
@ERROR_FORMAT
def certify(paths: tuple[Path, ...], samples: int | None, jobs: int, check: bool, error_format: str) -> None:
    """Measure errors against exact values where the lock file has none, and hold all to the bounds.

    At every 16-bit input, and at samples of the other types; parameters at their defaults and near them. The
    lock file is certificates.json, unless [tool.dslgen] says otherwise. Ctrl-C keeps what is done.
    """
    from dsl import assess
    from dsl.certificate import summary, table
    from dsl.progress import Progress

    activations = read_specs(paths).checked().activations
    config = configuration()
    lock = assess.open_lock(config.lock, activations, whole=not paths)
    wanted = assess.jobs(activations)
    is_found = _remember(whole=not paths, check=check)
    missing = [job for job in wanted if not assess.is_current(job, lock.held, samples or 0)]
    if not check:
        steps = assess.bring_up_to_date(lock, missing, paths or config.specs, samples, jobs)
        try:
            with Progress() as progress:
                for step in steps:
                    progress.show(step.done, step.total, step.label)
        except KeyboardInterrupt:
            done = sum(assess.is_current(job, lock.held, samples or 0) for job in missing)
            raise KeyboardInterrupt(
                f"{done} of {len(missing)} certified, which {config.lock} keeps; run it again to go on"
            ) from None
    current = [lock.held[job.activation.name] for job in wanted if assess.is_current(job, lock.held)]
    click.echo("\n\n".join(map(table, current)) if paths else summary(current))
    if check and missing:
        names = ", ".join(job.activation.name for job in missing)
        click.echo(f"{config.lock}: not certified as they are now: {names}; run: dslgen certify", err=True)
    findings = assess.findings(current, activations)
    for line in findings:
        click.echo(line, err=True)
    if not is_found:
        click.echo(f"{config.memory}: not what the stabiliser finds now; run: dslgen certify", err=True)
    if findings or (check and (missing or not is_found)):
        sys.exit(1)


def _remember(whole: bool, check: bool) -> bool:
    """Keep what the stabiliser found, for builds to come; only say whether it is kept, for a `check`."""
    from dsl.memory import current

    memory = current()
    if memory is None or check:
        return memory is None or not memory.path.exists() or memory.is_current
    memory.write(whole)
    return True
