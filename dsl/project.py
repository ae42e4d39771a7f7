"""The specs of a project, read from disk.

In: paths of files and directories. Out: `Project`: what could be read and resolved, and every error found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsl.activation import Activation
from dsl.errors import Span, SpecError, SpecErrors
from dsl.model import Model
from dsl.parse import parse_statements
from dsl.resolve import resolve_all
from dsl.resolve_model import resolve_models
from dsl.syntax import Definition
from dsl.syntax import Model as ModelSyntax

MAX_BYTES = 524_288
"""The largest spec file: ten times what a file of a thousand formulas needs."""


@dataclass(frozen=True)
class Project:
    """What the spec files of a project say."""

    files: tuple[Path, ...]
    activations: tuple[Activation, ...]
    errors: tuple[SpecError, ...]
    models: tuple[Model, ...] = ()

    def checked(self) -> Project:
        """The project itself if it has no errors; raises `SpecErrors` otherwise."""
        if self.errors:
            raise SpecErrors(self.errors)
        return self


def spec_files(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The spec files that paths stand for: a file is itself, a directory all `*.act` below it, sorted."""
    files: dict[Path, Path] = {}
    for path in paths:
        found = sorted(path.rglob("*.act")) if _is_directory(path) and path.suffix != ".act" else [path]
        for file in found:
            if not any(part.startswith(".") for part in file.relative_to(path).parts):
                files.setdefault(file.absolute(), file)
    return tuple(files.values())


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except ValueError:  # A name that no file can have; reading it says so.
        return False


def read_spec(path: Path) -> str:
    """The text of a spec file; raises `SpecError` where it is missing, too large or not text."""

    def refuse(
        code: str, message: str, line: int = 0, column: int = 0, suggestion: str | None = None
    ) -> SpecError:
        return SpecError(
            code, message, Span(str(path), line, column, line, column + 1), suggestion=suggestion
        )

    if not path.name.isprintable():  # The name goes into a comment of the generated file.
        raise SpecError(
            "E0005", "the file's name has unprintable characters", Span(ascii(str(path)), 0, 0, 0, 1)
        )
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        help_ = None if path.suffix == ".act" else "'dslgen init' starts a project with one"
        raise refuse("E0001", "no such file or directory", suggestion=help_) from None
    except IsADirectoryError:
        raise refuse("E0002", "is a directory, not a spec file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise refuse("E0005", f"cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise refuse("E0003", f"larger than a spec file may be ({MAX_BYTES:,} bytes)")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        raise refuse("E0004", f"not UTF-8: byte 0x{data[error.start]:02x}", line, column) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_project(
    paths: Sequence[Path], around: Sequence[Path] = (), texts: Mapping[Path, str] | None = None
) -> Project:
    """Every definition below the paths, resolved against each other and against a project around them.

    Where all the paths lie in `around`, their definitions may call any other there; what is wrong elsewhere
    in `around` is not this project's business. `texts` stands for what is in the files that it names.
    """
    given = texts or {}
    files = spec_files(paths)
    roots = [path.absolute() for path in around]
    inside = all(any(file.absolute().is_relative_to(root) for root in roots) for file in files)
    others = [file for file in spec_files([*files, *around]) if file not in files] if inside else []
    definitions: list[Definition] = []
    pipelines: list[ModelSyntax] = []
    errors: list[SpecError] = []
    broken: frozenset[str] = frozenset()
    for file in (*files, *others):
        try:
            parsed = parse_statements(given[file] if file in given else read_spec(file), file.as_posix())
        except SpecError as error:
            errors.append(error)
            continue
        definitions.extend(parsed.definitions)
        pipelines.extend(parsed.models)
        errors.extend(parsed.errors)
        broken |= parsed.broken
    activations, wrong = resolve_all(definitions, broken)
    models, misfits = resolve_models(pipelines, definitions, activations, broken)
    elsewhere = {file.as_posix() for file in others}
    return Project(
        files,
        tuple(activation for activation in activations if activation.path not in elsewhere),
        tuple(error for error in (*errors, *wrong, *misfits) if error.span.path not in elsewhere),
        tuple(model for model in models if model.path not in elsewhere),
    )


def check_text(text: str, path: str = "<string>") -> tuple[SpecError, ...]:
    """Every error of a spec given as text.

    >>> [error.code for error in check_text("f(x) = y")]
    ['E0106']
    """
    parsed = parse_statements(text, path)
    activations, wrong = resolve_all(parsed.definitions, parsed.broken)
    _, misfits = resolve_models(parsed.models, parsed.definitions, activations, parsed.broken)
    return SpecErrors([*parsed.errors, *wrong, *misfits]).errors
