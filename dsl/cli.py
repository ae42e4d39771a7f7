"""The command `dslgen`: arguments in, text and an exit code out. Thin: the work is done elsewhere.

Exit codes: 0 fine; 1 findings, or generated files out of date; 2 wrong usage or configuration, or an internal
error. Every command imports what it needs and no more, so that `fmt` and `check` start fast.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from difflib import unified_diff
from itertools import product, starmap
from pathlib import Path
from shlex import join, quote
from typing import TYPE_CHECKING, Any, NoReturn

import click

from dsl import __version__
from dsl.config import ConfigError
from dsl.errors import SpecError, SpecErrors
from dsl.usage import Commands

if TYPE_CHECKING:
    from dsl.activation import Activation
    from dsl.build import Plan
    from dsl.config import Config
    from dsl.expr import Expr
    from dsl.model import Model
    from dsl.pipeline import JointStages, Stages
    from dsl.project import Project
    from dsl.rows import RowStages

    Made = Stages | JointStages | RowStages
    """What every stage of the compiler made of an activation."""

_PATHS = click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
DTYPES = ("float16", "bfloat16", "float32", "float64")
ERROR_FORMATS = ("text", "json", "github", "sarif")
"""The keys of `dsl.findings.FORMATS`, which is imported when there is something to write."""
_ERROR_FORMAT = click.option(
    "--error-format", type=click.Choice(ERROR_FORMATS), default="text", help="How findings are written."
)


_CHECK = click.option(
    "--check", is_flag=True, help="Write nothing; name the files that would change, exit with 1."
)
_DIFF = click.option("--diff", is_flag=True, help="Write nothing; print what would change, exit with 1.")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dslgen", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Activation functions as formulas: stable Triton kernels and torch modules from a spec."""
    from dsl.memory import remembering

    with suppress(ConfigError):  # which a command that needs the configuration raises again
        context.with_resource(remembering(_config().memory))


@cli.command()
@_PATHS
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Directory of the generated package.")
@_CHECK
@_DIFF
@click.option("--watch", is_flag=True, help="Build again whenever a spec changes, until Ctrl-C.")
@_ERROR_FORMAT
def build(
    paths: tuple[Path, ...], out: Path | None, check: bool, diff: bool, watch: bool, error_format: str
) -> None:
    """Make the generated package from specs, which are files or directories.

    Without PATHS, of the specs that [tool.dslgen] in pyproject.toml names. Files that are up to date stay as
    they are.
    """
    if watch and (check or diff):
        raise click.UsageError("--watch, or --check and --diff, not both")
    if watch:
        _watch(paths, out, error_format)
        return
    _build(paths, out, check, diff)


def _watch(paths: tuple[Path, ...], out: Path | None, error_format: str) -> None:
    """Build, and again after every change; what goes wrong is said, and the next change waited for."""
    from dsl.project import spec_files
    from dsl.watch import changes

    here = Path.cwd()
    configurations = [folder / "pyproject.toml" for folder in (here, *here.parents)]

    def watched() -> list[Path]:
        try:
            config = _config()
        except ConfigError:
            return configurations
        return [*spec_files([*paths, *config.specs]), config.lock, *configurations]

    try:
        for _ in changes(watched):
            _guarded(lambda: _build(paths, out), error_format)
            click.echo("watching for changes; Ctrl-C ends", err=True)
    except KeyboardInterrupt:
        click.echo(err=True)


def _build(paths: tuple[Path, ...], out: Path | None, check: bool = False, diff: bool = False) -> None:
    from dsl import build as builder

    config = _config()
    specs, target = paths or config.specs, out or config.out
    if not (check or diff):
        _report(target, builder.build(specs, target, config.specs, config.lock))
        return
    pending = builder.plan(specs, target, config.specs, config.lock)
    mend = ["dslgen", "build", *map(str, paths), *(["-o", str(out)] if out else [])]
    _finish_if_stale(target, pending, diff, mend)


def _finish_if_stale(target: Path, pending: Plan, diff: bool, mend: Sequence[str]) -> None:
    """Where files would change, name them or print how, say what would do it, and exit with 1."""
    for change in pending.changes:
        click.echo(change.diff() if diff else change.summary(), nl=not diff)
    if pending.changes:
        _finish(f"{target}: {_files(len(pending.changes))} out of date; run: {join(mend)}")


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path), default=Path())
@click.option("-o", "--out", help="Where the generated package will be; otherwise kernels.")
def init(directory: Path, out: str | None) -> None:
    """Start a project in DIRECTORY, or add what an existing one lacks; change nothing that is there.

    A [tool.dslgen] in pyproject.toml, a first spec, a test, a configuration for pre-commit.
    """
    from dsl.scaffold import ScaffoldError, plan

    try:
        done = plan(directory, out)
    except ScaffoldError as error:
        raise click.ClickException(str(error)) from None
    added = {path for path in done.texts if path.exists()}
    done.apply()
    for path in done.texts:
        click.echo(f"added [tool.dslgen] to {path}" if path in added else f"created {path}")
    for path in done.kept:
        click.echo(f"kept {path}, which was there")
    there = [] if directory == Path() else [f"cd {quote(str(directory))}"]
    click.echo(f"next: {' && '.join([*there, 'dslgen build', 'python -m pytest'])}")


@cli.command()
@click.option("--json", "machine", is_flag=True, help="Write the report as JSON.")
def doctor(machine: bool) -> None:
    """Tell what is installed, which GPU there is, and how to get what is missing.

    Exits with 1 if something has to be mended; what only some commands need may be absent.
    """
    from dsl.doctor import as_json, examine, report

    checks = examine(Path.cwd())
    click.echo((as_json if machine else report)(checks))
    if any(check.status == "broken" for check in checks):
        sys.exit(1)


STYLES = ("hf-kernel", "modelnew")
"""The styles of `dsl.emit`, which is imported when it is needed."""


@cli.command()
@_PATHS
@click.option("--style", required=True, type=click.Choice(STYLES), help="What to write.")
@click.option("--only", "names", multiple=True, help="Write this definition and not all; repeatable.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Directory to write to.")
@_CHECK
@_DIFF
@_ERROR_FORMAT
def emit(
    paths: tuple[Path, ...],
    style: str,
    names: tuple[str, ...],
    out: Path,
    check: bool,
    diff: bool,
    error_format: str,
) -> None:
    """Write definitions in a form that other tools load.

    hf-kernel: a kernel for the Hugging Face Hub. modelnew: for each activation and model a file of its own,
    with kernels, what launches them, and one class, ModelNew.
    """
    from dsl import emit as emitter
    from dsl.certificate import read_lock

    project = _project(paths)
    models = {each.name: each for each in project.models}
    wanted = {each.name for name in names if name not in models for each in _named(project, name)}
    subjects: list[Activation | Model] = [each for each in project.activations if each.name in wanted]
    subjects += [models[name] for name in dict.fromkeys(names) if name in models]
    if not names:
        checked = project.checked()
        subjects = [*checked.activations, *checked.models]
    done = emitter.plan(subjects, style, out, read_lock(_config().lock))
    if not (check or diff):
        done.apply()
        _report(out, done)
        return
    given = [part for name in names for part in ("--only", name)]
    mend = ["dslgen", "emit", *map(str, paths), "--style", style, *given, "-o", str(out)]
    _finish_if_stale(out, done, diff, mend)


@cli.command()
@_PATHS
@click.option("--samples", type=click.IntRange(1), help="Inputs to try in float32 and float64.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes that measure.")
@click.option("--check", is_flag=True, help="Measure nothing; exit with 1 if the lock is stale.")
@_ERROR_FORMAT
def certify(paths: tuple[Path, ...], samples: int | None, jobs: int, check: bool, error_format: str) -> None:
    """Measure errors against exact values where the lock file has none, and hold all to the bounds.

    At every 16-bit input, and at samples of the other types; parameters at their defaults and near them. The
    lock file is certificates.json, unless [tool.dslgen] says otherwise. Ctrl-C keeps what is done.
    """
    from dsl import assess
    from dsl.certificate import summary, table
    from dsl.progress import Progress

    activations = _project(paths).checked().activations
    config = _config()
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


PRINTS = ("text", "latex", "html")
"""The forms in which `show` and `explain` print."""
_FORMAT = click.option(
    "--format", "form", type=click.Choice(PRINTS), default="text", show_default=True, help="What to print."
)


@cli.command()
@click.argument("spec")
@click.option("--target", help="Compile for this GPU, sm_90 or the like, and say what the kernels cost.")
@_FORMAT
@_ERROR_FORMAT
def explain(spec: str, target: str | None, form: str, error_format: str) -> None:
    """Tell how a definition became what it is: what was naive, where it failed, what mended it.

    SPEC is a file, FILE:NAME, the name of a definition or a model in the configured specs, or the code of
    an error.
    With --target, which takes torch and Triton but no GPU, what that costs in instructions, too.
    As LaTeX, it is a document; as HTML, a page in one file.
    """
    if re.fullmatch(r"[Ee]\d{4}", spec):
        _explain_code(spec.upper())
        return
    _need("numpy", extra="certify")
    from dsl.certificate import read_lock
    from dsl.explain import explain as tell
    from dsl.explain import explain_model

    models = _selected_models(spec)
    chosen = () if models and not spec.endswith(".act") else _select(spec)
    cost: dict[str, str] = {}
    if target is not None:
        _need("torch", "triton")
        from dsl.cost import costs
        from dsl.inspect import UnknownTarget

        try:
            cost = costs(chosen, target)
        except UnknownTarget as error:
            raise click.UsageError(str(error)) from None
        if models:
            click.echo(f"of models, and therefore not counted: {', '.join(m.name for m in models)}", err=True)
    held = read_lock(_config().lock)
    known = [(each, held.get(each.name), cost.get(each.name, "")) for each in chosen]
    if form == "text":
        click.echo("\n\n\n".join([*starmap(tell, known), *map(explain_model, models)]))
        return
    from dsl.derivation import of_model, title, whole

    sections = [(title(each[0]), whole(*each)) for each in known]
    sections += [(title(each), of_model(each)) for each in models]
    if form == "latex":
        from dsl.paper import document

        click.echo(document(sections))
        return
    _need("pygments", extra="web")
    from dsl.web.parts import page

    heading = sections[0][0] if len(sections) == 1 else "From formula to kernel"
    click.echo(page(heading, sections), nl=False)


def _explain_code(code: str) -> None:
    from textwrap import fill, indent

    from dsl.errors import CODES, did_you_mean
    from dsl.lessons import LESSONS
    from dsl.project import check_text

    if code not in CODES:
        raise click.UsageError(f"no error has the code {code}: {did_you_mean(code, CODES) or ''}")
    lesson = LESSONS[code]
    said = [] if lesson.shell else [str(error) for error in check_text(lesson.wrong, "wrong.act")]
    parts = [
        f"{code}: {CODES[code]}",
        fill(lesson.why, 88),
        "Wrong:",
        indent(lesson.wrong, "    "),
        *(indent(each, "    ") for each in said),
        "Right:",
        indent(lesson.right, "    "),
    ]
    click.echo("\n\n".join(parts))


PICTURES = (".png", ".svg")
"""The kinds of file that `dsl.plot` writes, which is imported when it is needed."""


@cli.command()
@click.argument("spec")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="A .png or .svg file.")
@click.option("--range", "ends", type=(float, float), default=(-10, 10), show_default=True, help="Ends of x.")
@click.option(
    "--dtype", type=click.Choice(DTYPES), default="float32", show_default=True, help="Type of the tensors."
)
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="A parameter's value; repeatable.")
@_ERROR_FORMAT
def plot(
    spec: str, out: Path, ends: tuple[float, float], dtype: str, values: tuple[str, ...], error_format: str
) -> None:
    """Draw a definition, its two derivatives, and the errors of ours, PyTorch's and the typed formula.

    SPEC is a file with one definition, FILE:NAME, or the name of a definition in the configured specs.
    Parameters are at their defaults, unless --set has others. Of several inputs or outputs, and of rows,
    exact values along the first input are drawn.
    """
    if out.suffix not in PICTURES:
        raise click.UsageError(f"--out: a file that ends in {' or '.join(PICTURES)}")
    low, high = ends
    if not -1e30 < low < high < 1e30:
        raise click.UsageError("--range: two numbers, the smaller first")
    activation, *others = _select(spec)
    if others:
        names = ", ".join(each.name for each in (activation, *others))
        raise click.UsageError(f"{spec} defines {names}: name one, as in {spec}:{activation.name}")
    activation = _with_values(activation, values)
    _need("torch", "triton")
    _need("matplotlib", "numpy", extra="plot")
    from dsl.curves import CurveError
    from dsl.files import write_atomic
    from dsl.plot import pictures

    try:
        (drawn,) = pictures(activation, low, high, dtype, [out.suffix[1:]])
    except CurveError as error:
        raise click.ClickException(str(error)) from None
    write_atomic(out, drawn)
    click.echo(f"wrote {out}")


def _with_values(activation: Activation, given: Sequence[str]) -> Activation:
    """The activation with values of its parameters that a command was given."""
    from fractions import Fraction

    from dsl.activation import as_numbers, known_defaults, with_defaults
    from dsl.settings import defaults, is_allowed

    if not given:
        return activation

    known = [*(each.name for each in activation.parameters), *activation.variables[len(activation.inputs) :]]
    values = known_defaults(activation)
    for each in given:
        name, _, value = each.partition("=")
        _listed("--set", name, known)
        try:
            values[name] = Fraction(value)
        except (ValueError, ZeroDivisionError):
            raise click.UsageError(f"--set: {name}=VALUE takes a number, such as {name}=0.5") from None
    found = with_defaults(activation, values)
    numbers = as_numbers(found)
    whole = defaults(numbers)
    if whole is not None and not is_allowed(numbers, whole):
        raise click.UsageError(f"--set: '{activation.name}' requires otherwise of its parameters")
    return found


COUNTS = Path("benchmarks/results/instructions-sm_90.json")


@cli.command()
@_PATHS
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Directory of the site.")
@click.option("--counts", type=click.Path(path_type=Path), help=f"What `inspect` wrote; otherwise {COUNTS}.")
@click.option(
    "--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes that make pages."
)
@_ERROR_FORMAT
def gallery(paths: tuple[Path, ...], out: Path, counts: Path | None, jobs: int, error_format: str) -> None:
    """Write a site of all definitions: index.html in DIR opens from the disk, and fetches nothing.

    A page for each: plots, formula, errors, instructions, derivation, source. Exits with 1 if one could not
    be shown whole.
    """
    _need("torch", "triton", "numpy", "pygments", extra="web")
    from dsl import catalogue
    from dsl.certificate import read_lock
    from dsl.progress import Progress
    from dsl.web import gallery as making

    config = _config()
    if counts is not None and not counts.is_file():
        raise click.UsageError(f"--counts: no file {counts}")
    project = _project(paths).checked()
    activations = project.activations
    making.refuse_foreign(out)
    rows = making.read_counts(counts or COUNTS)
    specs = paths or config.specs
    held = read_lock(config.lock)
    frameworks = () if paths else catalogue.read_frameworks(config.frameworks, (a.name for a in activations))
    listed = catalogue.entries(activations, held, frameworks)
    elsewhere = {each.name: each.frameworks for each in listed}
    with Progress() as progress:
        shown = making.entries(
            specs, activations, project.models, held, rows, elsewhere, config.out.name, jobs, progress.show
        )
    making.write(making.site(shown), out)
    click.echo(f"wrote {out / 'index.html'}, with {len(shown)} definitions")
    warnings = [line for each in shown for line in each.warnings]
    if warnings:
        _finish("\n".join(warnings))


@cli.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="A port of this machine; 0: a free one."
)
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser, too.")
def playground(port: int, opens: bool) -> None:
    """Serve a page, for this machine alone, on which to type formulas, until Ctrl-C.

    Curve, stability, source and instructions follow what is typed. Formulas may call the configured specs.
    """
    _need("torch", "triton", "numpy", "pygments", extra="web")
    from dsl.web.serve import run

    def ready(url: str) -> None:
        click.echo(url)
        click.echo("Ctrl-C ends", err=True)
        if opens:
            click.launch(url)

    try:
        run([path for path in _config().specs if path.exists()], port, ready)
    except KeyboardInterrupt:
        click.echo(err=True)
    except OSError as error:
        raise click.ClickException(f"port {port}: {error.strerror or error}") from None


@cli.command()
@_PATHS
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
@_ERROR_FORMAT
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

    config = _config()
    activations = _elementwise(_project(paths).checked().activations, "timed (benchmarks/rows.py does)")
    cases = make_plan(_of_one_output(_without_learned(activations, "timed")))
    if plan is not None:
        write_plan(cases, plan)
        return
    _need("torch", "triton")
    from dsl.bench.clock import NoDevice
    from dsl.bench.run import Options, run

    defaults = Options()
    options = Options(
        device=device,
        dtypes=_listed("--dtypes", dtypes, DTYPES),
        elements=elements or defaults.elements,
        sweep=_listed("--sweep", sweep, [case.name for case in cases]),
        json=file,
    )
    try:
        code = run(cases, config.out, options, join(["dslgen", *sys.argv[1:]]))
    except NoDevice as error:
        raise click.ClickException(str(error)) from None
    sys.exit(code)


@cli.command()
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
    _need("torch", "triton")
    if bool(names) == everything:
        raise click.UsageError("name some activations, or --all")
    if check is not None and write is not None:
        raise click.UsageError("--write or --check, not both")
    from dsl import inspect as counting
    from dsl.bench.run import load
    from dsl.files import read_text, write_atomic

    package = load(_config().out)
    chosen = _listed("NAMES", ",".join(names), counting.activations(package))
    text = None if check is None else read_text(check)
    if check is not None and text is None:
        raise click.ClickException(f"{check}: no such file; make it by --write")
    try:
        rows = counting.table(package, target, _listed("--dtypes", dtypes, DTYPES), chosen)
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
        _finish(f"{len(found)} of {len(rows)} kernels differ; to accept that, --write {check}")


@cli.command()
@click.argument("name", required=False)
@click.option("--shape", default="4096,393216", show_default=True, help="The input's shape.")
@click.option(
    "--dtype", type=click.Choice(DTYPES), default="float32", show_default=True, help="Type of the tensors."
)
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

    out = _config().out
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

    project = _project(())
    model = next((each for each in project.models if each.name == name), None)
    if model is None:
        name, kernels = _named(project, name)[0].name, f"^_{name}.*_kernel"
    else:
        name, kernels = model.class_name, "_kernel$"
    _numbers("--shape", shape)
    return profiler.run(profiler.program(str(package), name, shape, dtype, gradient, arguments), kernels)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """Numbers in a list with commas."""
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise click.UsageError(f"{option}: numbers with commas, such as 4096,393216")
    return tuple(map(int, text.split(",")))


@cli.command()
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
    _need("torch", "triton")
    from dsl.bench.clock import NoDevice
    from dsl.progress import Progress
    from dsl.tune import as_text, store
    from dsl.tuned import Session

    project = _project(())
    chosen = [each for name in names for each in _named(project, name)]
    out = _config().out
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
    tuned = [each.name for each in _of_one_input(chosen, "tuned") if not each.learned]
    jobs = list(product(tuned, _listed("--dtypes", dtypes, DTYPES)))
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


@cli.command()
@_PATHS
@click.option("--fix", "mends", is_flag=True, help="Mend in the files what can only be a slip.")
@click.option("--unsafe-fixes", "unsafe", is_flag=True, help="Take guesses for names, too; implies --fix.")
@_ERROR_FORMAT
def check(paths: tuple[Path, ...], mends: bool, unsafe: bool, error_format: str) -> None:
    """Read specs and report what is wrong in them; write nothing, but for what --fix mends."""
    project = _mended(paths, unsafe) if mends or unsafe else _project(paths)
    if project.errors or error_format != "text":
        _print_findings(SpecErrors(project.errors).errors, error_format, err=False)
    if project.errors:
        sys.exit(1)
    if error_format == "text":
        count = len(project.activations) + len(project.models)
        click.echo(f"{count} definitions in {_files(len(project.files))}: no errors")


def _mended(paths: tuple[Path, ...], unsafe: bool) -> Project:
    """The project after the fixes of its findings; each file is written whole, and only if it changed."""
    from dsl.files import write_atomic
    from dsl.mend import mend

    _project(paths)
    around = _config().specs
    done = mend(paths or around, around, unsafe)
    for file, text in done.texts.items():
        write_atomic(file, text)
    if done.edits:
        edits = f"{done.edits} edit" + "s" * (done.edits != 1)
        click.echo(f"mended {', '.join(map(str, done.texts))}: {edits}", err=True)
    return done.project


@cli.command()
@_PATHS
@_CHECK
@_DIFF
@_ERROR_FORMAT
def fmt(paths: tuple[Path, ...], check: bool, diff: bool, error_format: str) -> None:
    """Format specs in place; what does not parse stays as it is."""
    from dsl.files import write_atomic
    from dsl.format import format_text
    from dsl.project import read_spec, spec_files

    errors: list[SpecError] = []
    changed: list[Path] = []
    files = spec_files(paths or _config().specs)
    for file in files:
        try:
            before = read_spec(file)
            after = format_text(before, file.as_posix())
        except SpecError as error:
            errors.append(error)
            continue
        except SpecErrors as found:
            errors.extend(found.errors)
            continue
        if after == before:
            continue
        changed.append(file)
        if diff:
            old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
            click.echo("".join(unified_diff(old, new, file.as_posix(), file.as_posix())), nl=False)
        elif check:
            click.echo(f"would format {file}")
        else:
            write_atomic(file, after)
            click.echo(f"formatted {file}")
    if errors:
        raise SpecErrors(errors)
    if changed and (check or diff):
        _finish(f"{_files(len(changed))} of {len(files)} would change; run: dslgen fmt")


@cli.command()
@click.option("--stdio", is_flag=True, hidden=True, help="What editors say, and the only way there is.")
def lsp(stdio: bool) -> None:
    """Serve an editor by the Language Server Protocol, over standard input and output.

    Findings as you type with their fixes, hover, completion, definitions, symbols, formatting.
    """
    _need("pygls", extra="lsp")
    from dsl.lsp import serve

    serve()


STAGES: dict[str, Callable[[Activation, Made], str]] = {
    "parse": lambda activation, made: _show_parsed(activation),
    "derive": lambda activation, made: _show_stage(activation, made.derived),
    "simplify": lambda activation, made: _show_stage(activation, made.simplified),
    "stabilise": lambda activation, made: _show_stage(activation, made.stabilised),
    "schedule": lambda activation, made: _show_program(made),
    "target": lambda activation, made: _show_source(activation, made),
}
"""The stages of the pipeline, in order, and how each is printed."""


@cli.command()
@click.argument("spec")
@click.option(
    "--after",
    "stage",
    type=click.Choice(tuple(STAGES)),
    default="schedule",
    show_default=True,
    help="The stage, of those in order.",
)
@_FORMAT
@_ERROR_FORMAT
def show(spec: str, stage: str, form: str, error_format: str) -> None:
    """Print a definition as it is after a stage of the pipeline.

    SPEC is a file, FILE:NAME, or the name of a definition in the configured specs. As LaTeX, it is what a
    paper takes in, with amsmath; as HTML, a page.
    """
    model = _model(spec)
    if model is not None:
        if stage != "target" or form != "text":
            raise click.UsageError(f"'{model.name}' is a model, which has the stage 'target' alone, as text")
        from dsl.build import model_output

        click.echo(model_output(model).make().rstrip("\n"))
        return
    chosen = _select(spec)
    if stage == "parse":  # which needs no compiler, and shall be quick
        chosen_and_made: list[tuple[Activation, Any]] = [(each, None) for each in chosen]
    else:
        from dsl.pipeline import stages

        chosen_and_made = [(each, stages(each)) for each in chosen]
    if form == "text":
        click.echo("\n\n".join(STAGES[stage](*each) for each in chosen_and_made))
        return
    from dsl.derivation import parts_of_stage

    parts = [
        part
        for each, made in chosen_and_made
        for part in parts_of_stage(each, stage, STAGES[stage](each, made), made)
    ]
    if form == "latex":
        from dsl.paper import fragment

        click.echo(fragment(parts))
        return
    _need("pygments", extra="web")
    from dsl.web.parts import page

    title = f"{', '.join(each.name for each in chosen)} after {stage}"
    click.echo(page(title, [(title, parts)]), nl=False)


@cli.command("list")
@_PATHS
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="How they are written.",
)
@click.option(
    "--into",
    "page",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Write the table into a page, between '<!-- list -->' and '<!-- end of list -->', and that of other "
    "frameworks' names between '<!-- names -->' and its end.",
)
@_ERROR_FORMAT
def list_(paths: tuple[Path, ...], style: str, page: Path | None, error_format: str) -> None:
    """List definitions: name and parameters, formula, errors in float32 (value / gradient), other names."""
    from dsl import catalogue
    from dsl.certificate import read_lock
    from dsl.files import write_atomic

    project, config = _project(paths).checked(), _config()
    activations = project.activations
    frameworks = () if paths else catalogue.read_frameworks(config.frameworks, (a.name for a in activations))
    found = catalogue.entries(activations, read_lock(config.lock), frameworks)
    found += map(catalogue.model_entry, project.models)
    if page is None:
        click.echo(catalogue.FORMATS[style](found))
        return
    tables = {"list": catalogue.as_markdown(found), "names": catalogue.frameworks_as_markdown(frameworks)}
    try:
        write_atomic(page, catalogue.into_page(page.read_text(encoding="utf-8"), tables))
    except ValueError as error:
        raise click.UsageError(f"--into {page}: {error}") from None


def _show_parsed(activation: Activation) -> str:
    from dsl.show import show_activation

    return show_activation(activation)


def _show_stage(activation: Activation, roots: Sequence[Expr]) -> str:
    from dsl.show import show_row_names, show_stage

    text = show_stage(activation, roots)
    return show_row_names(text) if activation.dim is not None else text


def _show_program(made: Made) -> str:
    from dsl.program import RowProgram
    from dsl.show import show_function, show_passes, show_row_names

    program = made.program
    rules = [f"# {name}: {reason}" if reason else f"# {name}" for name, reason in program.rewrites]
    functions = [*map(show_function, program.functions)]
    if isinstance(program, RowProgram):
        passes = [
            show_passes(each).replace("pass", "# pass") for each in (program.forward, *program.gradients)
        ]
        functions = [show_row_names("\n".join(pair)) for pair in zip(functions, passes, strict=True)]
    return "\n\n".join([*functions, *(["\n".join(rules)] if rules else [])])


def _show_source(activation: Activation, made: Made) -> str:
    from dsl.build import source
    from dsl.certificate import read_lock

    return source(activation, read_lock(_config().lock).get(activation.name), made.program).rstrip("\n")


def _model(spec: str) -> Model | None:
    """The model of that name, if it is one."""
    path, colon, name = spec.rpartition(":")
    if Path(spec).exists() or spec.endswith(".act"):
        return None
    models = _project((Path(path),) if colon else ()).models
    return next((each for each in models if each.name == name), None)


def _selected_models(spec: str) -> Sequence[Model]:
    """The models of a file, or the one of that name."""
    if Path(spec).exists() or spec.endswith(".act"):
        return _project((Path(spec),)).checked().models
    model = _model(spec)
    return () if model is None else (model,)


def _select(spec: str) -> Sequence[Activation]:
    path, colon, name = spec.rpartition(":")
    if Path(spec).exists() or spec.endswith(".act"):
        return _project((Path(spec),)).checked().activations
    return _named(_project((Path(path),) if colon else ()), name)


def _named(project: Project, name: str) -> Sequence[Activation]:
    """The definition of a name or an alias, though others may be wrong."""
    found = [each for each in project.activations if name in (each.name, *each.aliases)]
    if found:
        return found
    for model in project.models:
        if model.name == name:
            parts = ", ".join(each.name for each in model.activations)
            hint = f"; its activations are {parts}" if parts else ""
            raise click.UsageError(f"'{name}' is a model, and this is for activations{hint}")
    project.checked()
    from dsl.errors import did_you_mean

    suggestion = did_you_mean(name, [each.name for each in project.activations])
    raise click.UsageError(f"no definition '{name}'" + (f": {suggestion}" if suggestion else ""))


def _project(paths: tuple[Path, ...]) -> Project:
    from dsl.project import read_project

    around = _config().specs
    specs = paths or around
    project = read_project(specs, around)
    if not project.files:
        raise click.UsageError(f"no .act files in {', '.join(map(str, specs))}")
    return project


def _of_one_input(activations: Sequence[Activation], done: str, rows: bool = False) -> Sequence[Activation]:
    """Those that are elementwise, of one input and one output, and with `rows` those that reduce rows; the
    others are named on stderr, with what is not done to them.
    """
    reducing = [each for each in activations if each.dim is not None and not rows]
    joint = [each for each in activations if each.dim is None and each.joint]
    for what, others in (("of several inputs or outputs", joint), ("over rows", reducing)):
        if others:
            names = ", ".join(each.name for each in others)
            click.echo(f"{what}, and therefore not {done}: {names}", err=True)
    return [each for each in activations if each not in (*joint, *reducing)]


def _elementwise(activations: Sequence[Activation], done: str) -> Sequence[Activation]:
    """Those that reduce no rows; the others are named on stderr."""
    reducing = [each.name for each in activations if each.dim is not None]
    if reducing:
        click.echo(f"over rows, and therefore not {done}: {', '.join(reducing)}", err=True)
    return [each for each in activations if each.dim is None]


def _without_learned(activations: Sequence[Activation], done: str) -> Sequence[Activation]:
    """Those without learnable parameters; the others are named on stderr."""
    learned = [each.name for each in activations if each.learned]
    if learned:
        click.echo(f"with learnable parameters, and therefore not {done}: {', '.join(learned)}", err=True)
    return [each for each in activations if not each.learned]


def _of_one_output(activations: Sequence[Activation]) -> Sequence[Activation]:
    """Those that are timed; the others are named on stderr."""
    several = [each.name for each in activations if each.others]
    if several:
        click.echo(f"of several outputs, and therefore not timed: {', '.join(several)}", err=True)
    return [each for each in activations if not each.others]


def _listed(option: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The names in a list with commas; all of them must be known."""
    from dsl.errors import did_you_mean

    names = tuple(name for name in text.split(",") if name)
    for name in names:
        if name not in known:
            raise click.UsageError(f"{option}: no '{name}': {did_you_mean(name, known) or _some(known)}")
    return names


def _some(names: Sequence[str], most: int = 12) -> str:
    """The first of some names, and how many more there are."""
    rest = f" and {len(names) - most} more; dslgen list has them" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _need(*modules: str, extra: str = "torch") -> None:
    from importlib.util import find_spec

    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise click.ClickException(
            f"this needs {' and '.join(missing)}, not installed: pip install 'dslgen[{extra}]'"
        )


def _config() -> Config:
    from dsl.config import load

    return load(Path.cwd())


def _report(target: Path, done: Plan) -> None:
    removed = sum(change.after is None for change in done.changes)
    written = len(done.changes) - removed
    click.echo(f"{target}: {written} written, {done.unchanged} unchanged, {removed} removed")


def _files(count: int) -> str:
    return f"{count} file" + "s" * (count != 1)


def _finish(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(1)


def _print_findings(errors: Sequence[SpecError], error_format: str, err: bool) -> None:
    from dsl.findings import FORMATS, coloured, wants_colour
    from dsl.mend import fixes

    stream = sys.stderr if err else sys.stdout
    colour = error_format == "text" and wants_colour(os.environ, stream.isatty())
    text = coloured(errors) if colour else FORMATS[error_format](errors)
    if text:
        click.echo(text, err=err, color=True if colour else None)
    if errors and error_format == "text":
        safe = len(fixes(errors))
        hint = f"; dslgen check --fix mends {safe} of them" if safe else ""
        click.echo(f"{len(errors)} error" + "s" * (len(errors) != 1) + hint, err=True)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: what goes wrong becomes a message and a code, never a traceback."""
    sys.exit(_run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: Sequence[str]) -> int:
    def command() -> None:
        cli.main(list(arguments), prog_name="dslgen", standalone_mode=False)
        sys.stdout.flush()

    try:
        return _guarded(command, _error_format(arguments))
    except (KeyboardInterrupt, click.Abort) as stop:
        said = stop.__cause__ if isinstance(stop, click.Abort) else stop  # click makes one of the other
        click.echo(f"dslgen: stopped{f': {said}' if said and str(said) else ''}", err=True)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _guarded(action: Callable[[], None], error_format: str) -> int:
    """Do something; say what goes wrong in it. Returns the exit code."""
    try:
        action()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        raise
    except click.ClickException as error:
        error.show()
        return 2
    except (SpecErrors, SpecError) as error:
        errors = error.errors if isinstance(error, SpecErrors) else (error,)
        _print_findings(errors, error_format, err=error_format == "text")
        return 1
    except ConfigError as error:
        click.echo(f"dslgen: {error}", err=True)
        return 2
    except BrokenPipeError:
        raise
    except Exception as error:
        return _internal(error)
    return 0


def _error_format(arguments: Sequence[str]) -> str:
    """The format of findings that a command line asks for, read again: the command itself has ended."""
    given = [
        later if option == "--error-format" else option.partition("=")[2]
        for option, later in zip(arguments, [*arguments[1:], ""], strict=True)
        if option.partition("=")[0] == "--error-format"
    ]
    return given[-1] if given and given[-1] in ERROR_FORMATS else "text"


def _internal(error: Exception) -> int:
    from dsl.build import BuildError
    from dsl.certificate import LockError, ToolsMissing

    if isinstance(error, BuildError | LockError | ToolsMissing):
        click.echo(f"dslgen: {error}", err=True)
    elif isinstance(error, OSError):
        click.echo(f"dslgen: {error.filename or ''}: {error.strerror or error}", err=True)
    else:
        click.echo(f"dslgen: internal error ({type(error).__name__}: {error})", err=True)
    if os.environ.get("DSLGEN_TRACEBACK"):
        raise error
    return 2
