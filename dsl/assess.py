"""Makes the certificates that a lock does not hold: measures kernels and formulas against exact values.

In: activations, certificates made before. Out: `Job`s, which say what is missing, and the rows that measuring
them gives, as they come. Compiling happens here; torch and Triton run in processes of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from dsl import certificate as certificates
from dsl import compared
from dsl.activation import Activation
from dsl.build import BuildError, code_digest
from dsl.certificate import DTYPES, Certificate, Row, ToolsMissing
from dsl.errors import SpecErrors
from dsl.files import read_text, write_atomic
from dsl.parallel import ending, interrupts_kept
from dsl.program import AnyProgram
from dsl.settings import measured_settings

SAMPLES = 20_000
"""Points to try in float32 and in float64, beside those that are always tried."""
PACKAGE = "certified"
NEEDS = {"torch": "torch", "triton": "torch", "numpy": "certify", "flint": "certify"}
"""What measuring imports, and the extra that installs it."""


@dataclass(frozen=True)
class Job:
    """An activation, the program that it compiles to, and the digest of the code."""

    activation: Activation
    program: AnyProgram
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
        if not measured_settings(each):
            raise BuildError(
                f"{each.path}: '{each.name}' cannot be certified: no parameters were found that "
                "`require` allows; give them defaults"
            )
    return tuple(map(_job, activations))


def _job(activation: Activation) -> Job:
    from dsl.pipeline import stages

    try:
        program = stages(activation).program
        return Job(activation, program, code_digest(activation, program))
    except SpecErrors:
        raise
    except Exception as error:
        message = (
            f"{activation.path}: '{activation.name}' could not be compiled ({type(error).__name__}: {error})"
        )
        raise BuildError(message) from error


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
                for kind in compared.kinds(job.activation)
            }
        for done, future in enumerate(as_completed(pending), 1):
            name, kind, dtype = pending[future]
            rows[name] += _result(future)
            pieces = len(DTYPES) * len(compared.kinds(by_name[name].activation))
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
    files |= {f"{name}.py": text for job in todo for name, text in _modules(job)}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def _modules(job: Job) -> Iterator[tuple[str, str]]:
    """The names and the source of the modules that are measured."""
    from dsl.certify.learned import by_element
    from dsl.pipeline import stages
    from dsl.targets import render

    yield job.activation.name, render(job.activation, job.program)
    if job.activation.learned:
        apart = by_element(job.activation)
        same = apart.variables == job.activation.variables
        program = job.program if same else stages(apart).program
        yield f"{job.activation.name}{compared.BY_ELEMENT}", render(apart, program)


# In the processes that measure

_activations: dict[str, Activation] = {}


def _start(folder: str, specs: tuple[str, ...]) -> None:
    from dsl import interpret
    from dsl.project import read_project

    interpret.start(folder, PACKAGE)
    project = read_project([Path(path) for path in specs])
    _activations.update({activation.name: activation for activation in project.activations})


def _measure(name: str, kind: str, dtype: str, samples: int) -> tuple[Row, ...]:
    """The rows of the kernel and of the formula, in one dtype, of the value or a gradient."""
    return compared.rows(_activations[name], kind, dtype, samples)
