"""The definitions of a project as a list: text for a terminal, tables for a page, JSON for a program.

In: activations, their certificates, and what other frameworks call them. Out: text. What a framework calls
an activation is data of the project (`frameworks` in `[tool.dslgen]`): for every framework its version, a
table of its names and the definition that each one is, and one of those that the project has nothing for,
with the reason.

    [jax]
    version = "0.10.2"
    names = { silu = "silu", swish = "silu" }
    missing = { sparsemax = "sorts the row" }
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dsl.activation import Activation
from dsl.certificate import KINDS, Certificate
from dsl.config import ConfigError
from dsl.files import read_text
from dsl.model import Model
from dsl.show import show_parameters

SHOWN = ("float32", "bfloat16")
"""The types whose errors a table has room for."""


@dataclass(frozen=True)
class Framework:
    """The names that a framework accepts: what each is here, and why some are nothing here."""

    name: str
    version: str
    names: Mapping[str, str]
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A definition as the list has it.

    `errors` are the kernel's greatest ones in ulps, of value and gradient by type, empty where none were
    measured; `frameworks` what others call it.
    """

    call: str
    name: str
    formula: str
    about: str
    class_name: str
    aliases: tuple[str, ...]
    references: tuple[str, ...]
    errors: Mapping[str, tuple[float, ...]]
    frameworks: Mapping[str, tuple[str, ...]]


def read_frameworks(path: Path | None, known: Iterable[str]) -> tuple[Framework, ...]:
    """The frameworks of a file; none without one. Raises `ConfigError` for a file that says something else,
    or names a definition that is not `known`.
    """
    if path is None:
        return ()
    text, names = read_text(path), set(known)
    if text is None:
        raise ConfigError(f"{path}: 'frameworks' in [tool.dslgen] names no file")
    try:
        found = tuple(
            Framework(name, str(table["version"]), dict(table["names"]), dict(table.get("missing", {})))
            for name, table in tomllib.loads(text).items()
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: no table of frameworks ({error})") from None
    for framework in found:
        for theirs, ours in framework.names.items():
            if ours not in names:
                raise ConfigError(f"{path}: {framework.name}'s {theirs} is '{ours}', which is no definition")
    return found


def entries(
    activations: Sequence[Activation],
    certificates: Mapping[str, Certificate],
    frameworks: Sequence[Framework] = (),
) -> list[Entry]:
    """What the list says of each activation, in their order."""
    return [
        Entry(
            call=_call(each),
            name=each.name,
            formula=each.formula.replace("\n", "; "),
            about=" ".join(each.doc.split()),
            class_name=each.class_name,
            aliases=each.aliases,
            references=tuple(reference.target for reference in each.references),
            errors=_errors(certificates.get(each.name)),
            frameworks={
                framework.name: tuple(theirs for theirs, ours in framework.names.items() if ours == each.name)
                for framework in frameworks
                if each.name in framework.names.values()
            },
        )
        for each in activations
    ]


def model_entry(model: Model) -> Entry:
    """What the list says of a model."""
    arguments = ", ".join(
        each.name if each.default is None else f"{each.name}={each.default}" for each in model.arguments
    )
    call = f"model {model.name}({arguments})"
    return Entry(
        call, model.name, model.formula, " ".join(model.doc.split()), model.class_name, (), (), {}, {}
    )


def _call(activation: Activation) -> str:
    parameters = ", ".join(show_parameters(activation)).replace(" = ", "=")
    return f"{activation.name}({', '.join(activation.inputs)}{'; ' if parameters else ''}{parameters})"


def _errors(certificate: Certificate | None) -> dict[str, tuple[float, ...]]:
    if certificate is None:
        return {}
    rows = {dtype: [certificate.worst("kernel", dtype, side) for side in KINDS] for dtype in SHOWN}
    return {
        dtype: tuple(row.worst_ulp for row in found if row) for dtype, found in rows.items() if all(found)
    }


def as_text(found: Sequence[Entry]) -> str:
    """A line for each definition: its call, the formula, errors in float32, names."""
    rows = [
        (
            each.call,
            each.formula,
            _slashed(each.errors.get("float32", ())),
            ", ".join((*each.aliases, *each.references)),
        )
        for each in found
    ]
    widths = [min(48, max((len(row[column]) for row in rows), default=0)) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _slashed(errors: Iterable[float]) -> str:
    return " / ".join(f"{error:.3g}" for error in errors)


def as_json(found: Sequence[Entry]) -> str:
    """The definitions as a JSON array."""
    return json.dumps([asdict(each) for each in found], indent=1, ensure_ascii=False)


def as_markdown(found: Sequence[Entry]) -> str:
    """The definitions as a table."""
    return "\n".join(
        _table(("definition", "formula", "about", "float32", "bfloat16", "also called"), _cells(found))
    )


def _cells(found: Sequence[Entry]) -> Iterator[tuple[str, ...]]:
    for each in found:
        names = [f"`{alias}`" for alias in each.aliases]
        names += [f"{framework} `{name}`" for framework, theirs in each.frameworks.items() for name in theirs]
        errors = (_slashed(each.errors.get(dtype, ())) for dtype in SHOWN)
        yield f"`{each.call}`", f"`{each.formula}`", each.about, *errors, ", ".join(names)


def frameworks_as_markdown(frameworks: Sequence[Framework]) -> str:
    """What each framework's names are here, as a table; `-` and the reason for those that are nothing."""
    rows = (
        (f"{each.name} {each.version}", f"`{theirs}`", ours)
        for each in frameworks
        for theirs, ours in (
            *((theirs, f"`{ours}`") for theirs, ours in each.names.items()),
            *((theirs, f"- {why}") for theirs, why in each.missing.items()),
        )
    )
    return "\n".join(_table(("framework", "its name", "here"), rows))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def into_page(page: str, tables: Mapping[str, str]) -> str:
    """A page with each table between its marks, where it has those. Raises ValueError if it has none.

    >>> into_page("a\\n<!-- list -->\\nold\\n<!-- end of list -->\\nb\\n", {"list": "new", "names": "..."})
    'a\\n<!-- list -->\\n\\nnew\\n\\n<!-- end of list -->\\nb\\n'
    """
    marks = {part: (f"<!-- {part} -->", f"<!-- end of {part} -->") for part in tables}
    held = {part: both for part, both in marks.items() if all(page.count(mark) == 1 for mark in both)}
    if not held:
        raise ValueError(f"no {' or '.join(begin for begin, _ in marks.values())} with its end")
    for part, (begin, end) in held.items():
        before, rest = page.split(begin)
        page = f"{before}{begin}\n\n{tables[part]}\n\n{end}{rest.split(end)[1]}"
    return page


FORMATS: Mapping[str, Callable[[Sequence[Entry]], str]] = {
    "text": as_text,
    "json": as_json,
    "markdown": as_markdown,
}
