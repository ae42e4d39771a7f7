"""Makes the certificates that a lock does not hold: measures kernels and formulas against exact values.

In: activations, certificates made before. Out: `Job`s, which say what is missing, and the rows that measuring
them gives, as they come. Compiling happens here; torch and Triton run in processes of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dsl import certificate as certificates
from dsl.activation import Activation, as_numbers
from dsl.build import BuildError, code_digest
from dsl.certificate import DTYPES, KINDS, Certificate, Row, ToolsMissing
from dsl.errors import SpecErrors
from dsl.files import read_text, write_atomic
from dsl.parallel import ending, interrupts_kept
from dsl.program import RowProgram
from dsl.settings import Setting, measured_settings, settings

Function = Callable[[Any], Any]
"""Arrays to arrays."""

SAMPLES = 20_000
"""Points to try in float32 and in float64, beside those that are always tried."""
PACKAGE = "certified"
NEEDS = {"torch": "torch", "triton": "torch", "numpy": "certify", "flint": "certify"}
"""What measuring imports, and the extra that installs it."""


@dataclass(frozen=True)
class Job:
    """An activation, what it compiles to, and the digest of the code."""

    activation: Activation
    source: str
    digest: str

    def certificate(self, samples: int, rows: Sequence[Row]) -> Certificate:
        """The certificate that rows make."""
        measured_at = certificates.show_settings(measured_settings(self.activation))
        return Certificate(self.activation.name, self.digest, samples, measured_at, tuple(rows))


@dataclass(frozen=True)
class Progress:
    """How far a run is, what was measured last, and the job that this finished, if it did, with its rows."""

    done: int
    total: int
    label: str
    job: Job | None
    rows: tuple[Row, ...]


@dataclass
class Lock:
    """A lock file and what it holds."""

    path: Path
    held: dict[str, Certificate]


def open_lock(path: Path, activations: Sequence[Activation], whole: bool) -> Lock:
    """The lock, without what was made of definitions that are gone, if these are the whole project's."""
    held = certificates.read_lock(path)
    names = {activation.name for activation in activations}
    return Lock(path, {name: each for name, each in held.items() if not whole or name in names})


def bring_up_to_date(
    lock: Lock, missing: Sequence[Job], specs: Sequence[Path], samples: int | None, processes: int
) -> Iterator[Progress]:
    """Measure what is missing; each certificate is written as soon as it is complete."""
    count = samples or SAMPLES
    for step in measure(missing, specs, count, processes) if missing else ():
        if step.job is not None:
            lock.held[step.job.activation.name] = step.job.certificate(count, step.rows)
            write(lock)
        yield step
    write(lock)


def write(lock: Lock) -> None:
    """Put the lock into its file, if that changes anything."""
    text = certificates.show_lock(lock.held)
    if text != read_text(lock.path):
        write_atomic(lock.path, text)


def findings(held: Sequence[Certificate], activations: Sequence[Activation]) -> list[str]:
    """The bounds that certificates break, a line each."""
    accuracy = {activation.name: activation.accuracy for activation in activations}
    return [line for each in held for line in certificates.findings(each, accuracy[each.name])]


def jobs(activations: Sequence[Activation]) -> tuple[Job, ...]:
    """What certificates are to be made of: activations, compiled.

    Raises `BuildError` for one whose `require` clauses no values were found to keep.
    """
    for each in activations:
        if not settings(as_numbers(each)):
            raise BuildError(
                f"{each.path}: '{each.name}' cannot be certified: no parameters were found that "
                "`require` allows; give them defaults"
            )
    return tuple(map(_job, activations))


def _job(activation: Activation) -> Job:
    from dsl.pipeline import stages
    from dsl.targets import render

    try:
        program = stages(activation).program
        assert not isinstance(program, RowProgram), "functions of rows have no certificates"
        return Job(activation, render(activation, program), code_digest(activation, program))
    except SpecErrors:
        raise
    except Exception as error:
        message = (
            f"{activation.path}: '{activation.name}' could not be compiled ({type(error).__name__}: {error})"
        )
        raise BuildError(message) from error


def _kinds(activation: Activation) -> tuple[str, ...]:
    """What is measured of an activation."""
    if not activation.joint:
        return KINDS
    from dsl.certify.joint import kinds

    return kinds(activation)


def is_current(job: Job, held: Mapping[str, Certificate], samples: int = 0) -> bool:
    """Whether a certificate is there for just this code, made from at least so many samples."""
    found = held.get(job.activation.name)
    return found is not None and found.digest == job.digest and found.samples >= samples


def require_tools() -> None:
    """Raise `ToolsMissing` where a package is not installed that measuring needs."""
    for module, extra in NEEDS.items():
        if find_spec(module) is None:
            raise ToolsMissing(
                f"certify needs {module}, which is not installed: pip install 'dslgen[{extra}]'"
            )


def measure(todo: Sequence[Job], specs: Sequence[Path], samples: int, processes: int) -> Iterator[Progress]:
    """Measure jobs, the greatest pieces of work first come first served; each is given when it is complete.

    Closing the iterator, or an exception in its consumer, ends the processes.
    """
    require_tools()
    rows: dict[str, list[Row]] = {job.activation.name: [] for job in todo}
    by_name = {job.activation.name: job for job in todo}
    with TemporaryDirectory() as folder, ending(_pool(Path(folder), todo, specs, processes)) as pool:
        with interrupts_kept():
            pending = {
                pool.submit(_measure, name, kind, dtype, samples): (name, kind, dtype)
                for name, job in by_name.items()
                for dtype in DTYPES
                for kind in _kinds(job.activation)
            }
        for done, future in enumerate(as_completed(pending), 1):
            name, kind, dtype = pending[future]
            rows[name] += _result(future)
            pieces = len(DTYPES) * len(_kinds(by_name[name].activation))
            whole = len(rows[name]) == pieces * len(certificates.MAKERS)
            yield Progress(
                done,
                len(pending),
                f"{name} {dtype} {kind}",
                by_name[name] if whole else None,
                tuple(rows[name]) if whole else (),
            )


def _result(future: Future[tuple[Row, ...]]) -> tuple[Row, ...]:
    return future.result()


def _pool(folder: Path, todo: Sequence[Job], specs: Sequence[Path], processes: int) -> ProcessPoolExecutor:
    write_package(folder / PACKAGE, todo)
    paths = tuple(str(path.absolute()) for path in specs)
    return ProcessPoolExecutor(processes, get_context("spawn"), _start, (str(folder), paths))


def write_package(folder: Path, todo: Sequence[Job]) -> None:
    """The code to measure: the modules as they are built, but for black, and what they import."""
    from dsl.targets import support_files

    folder.mkdir()
    files = {"__init__.py": "", **support_files()}
    files |= {f"{job.activation.name}.py": job.source for job in todo}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


# In the processes that measure

_activations: dict[str, Activation] = {}


def _start(folder: str, specs: tuple[str, ...]) -> None:
    from dsl import interpret
    from dsl.project import read_project

    interpret.start(folder, PACKAGE)
    project = read_project([Path(path) for path in specs])
    _activations.update({activation.name: activation for activation in project.activations})


def _measure(name: str, kind: str, dtype: str, samples: int) -> tuple[Row, ...]:
    """The rows of the kernel and of the formula, in one dtype, of the value or the gradient."""
    from dsl import interpret

    activation = _activations[name]
    rows: dict[str, Row] = {}
    if activation.joint:
        for row in _compared_jointly(activation, kind, dtype, samples):
            rows[row.by] = _worse(rows[row.by], row) if row.by in rows else row
        return tuple(rows.values())
    for number, setting in enumerate(settings(activation)):
        given = {key: float(value) for key, value in setting.items()}
        makers = {
            "kernel": interpret.kernel(name, kind, dtype, given),
            "formula": interpret.formula(name, kind, dtype, given),
        }
        shown = certificates.show_parameters(setting) if number else ""
        for row in _compared(activation, kind, dtype, setting, makers, samples, shown):
            rows[row.by] = _worse(rows[row.by], row) if row.by in rows else row
    return tuple(rows.values())


OTHER_SETTINGS = 8
"""At other settings than the first, one in so many points is tried."""


def _compared(
    activation: Activation,
    kind: str,
    dtype: str,
    setting: Setting,
    makers: Mapping[str, Function],
    samples: int,
    shown: str,
) -> Iterator[Row]:
    """A row for each maker, at one setting; `shown` is empty for the first."""
    from dsl.certify import truth
    from dsl.pipeline import derive

    root = activation.body if kind == "value" else derive(activation)[1]
    count = samples // OTHER_SETTINGS if shown else samples
    known = truth(root, activation.input, dtype, setting, count, every=not shown)
    yield from _rows(activation, kind, dtype, known, makers, shown)


def _compared_jointly(activation: Activation, kind: str, dtype: str, samples: int) -> Iterator[Row]:
    """A row for each maker and each sweep of one input, at the first setting of the parameters."""
    from dsl import interpret
    from dsl.certify import joint, truth
    from dsl.pipeline import derive_joint

    (setting,) = measured_settings(activation)
    root = derive_joint(activation)[activation.labels.index(kind)]
    where = joint.place(activation, kind)
    given = {key: float(value) for key, value in setting.items()}
    exact = {key: Fraction(value) for key, value in given.items()}  # a threshold is where the call has it
    for sweep in joint.sweeps(activation.inputs, root):
        swept = activation.inputs.index(sweep.name)
        point = sweep.point(activation.inputs, 0.0)
        makers: dict[str, Function] = {
            by: interpret.joint(activation.name, by, where, dtype, point, swept, given)
            for by in certificates.MAKERS
        }
        known = truth(root, sweep.name, dtype, {**exact, **sweep.others}, samples)
        if not sweep.first:
            makers = {by: joint.finite(function, known) for by, function in makers.items()}
        for row in _rows(activation, kind, dtype, known, makers, ""):
            failed = (
                f"{sweep.name} varied, {certificates.show_parameters(sweep.others)}" if row.failed else ""
            )
            yield replace(
                row, point=sweep.point(activation.inputs, row.worst_input), parameters=failed.rstrip(", ")
            )


def _rows(
    activation: Activation,
    kind: str,
    dtype: str,
    known: Any,
    makers: Mapping[str, Function],
    shown: str,
) -> Iterator[Row]:
    """A row for each maker against a truth."""
    from dsl.certify import around_worst
    from dsl.certify import measure as compare

    allowed = certificates.bound(activation.accuracy, dtype, kind, activation.joint)
    for by, function in makers.items():
        found = compare(function, known)
        first = found.failures[0] if found.failures else None
        broken = found.worst_ulp > allowed
        yield Row(
            by,
            dtype,
            kind,
            certificates.round_up(found.worst_ulp),
            found.worst_input,
            found.tried,
            found.exhaustive,
            None if found.near_roots is None else certificates.round_up(found.near_roots),
            found.near_roots_input,
            found.flushed,
            found.signs,
            found.undecided,
            found.failed,
            None if first is None else (first.input, first.got, first.exact),
            around_worst(function, known, found.worst_input, allowed) if broken else None,
            shown,
        )


def _worse(one: Row, other: Row) -> Row:
    """Two settings' rows as one: the worst error of both, all counts, what was tried at the first setting."""
    worst = max(one, other, key=lambda row: row.worst_ulp)
    near = max(one, other, key=lambda row: -1.0 if row.near_roots is None else row.near_roots)
    failed = one if one.failed or not other.failed else other
    return replace(
        worst,
        tried=one.tried + other.tried,
        exhaustive=one.exhaustive,
        near_roots=near.near_roots,
        near_roots_input=near.near_roots_input,
        flushed=one.flushed + other.flushed,
        signs=one.signs + other.signs,
        undecided=one.undecided + other.undecided,
        failed=one.failed + other.failed,
        failure=failed.failure,
        parameters=failed.parameters if one.failed or other.failed else worst.parameters,
    )
