"""The page of one activation, and its card in the index.

In: an activation, its certificate, its instruction counts. Out: `Entry`, HTML that the gallery puts in place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePath
from typing import Any

from dsl import equations
from dsl.activation import Activation
from dsl.certificate import Certificate
from dsl.curves import CurveError
from dsl.derivation import Part, whole
from dsl.mathml import mathml
from dsl.report import signature
from dsl.show import show_parameters
from dsl.web import html, parts
from dsl.web.chart import sketch
from dsl.web.figures import figures, unavailable

Counts = Mapping[str, Mapping[str, Any]]
"""Rows of `dslgen inspect --write`, by `target/dtype/name/kind`."""

_TITLE = re.compile(r"\s*\([^()]*\d{4}[^()]*\)")


@dataclass(frozen=True)
class Entry:
    """What the gallery shows of an activation; `warnings` say what could not be shown."""

    name: str
    family: str
    tags: tuple[str, ...]
    search: str
    card: str
    page: str
    warnings: tuple[str, ...] = ()


def entry(
    activation: Activation,
    certificate: Certificate | None,
    counts: Counts,
    package: str,
    elsewhere: Mapping[str, Sequence[str]],
) -> Entry:
    """An activation's page and card.

    `package` is the generated package's name; `elsewhere` has what other frameworks call the activation.
    """
    plots, picture, no_plot = _plots(activation)
    steps, no_steps = _steps(activation, certificate)
    kin = family(activation.path)
    sections = [
        ("Formula", contents(steps.pop("Definition"))),
        ("Plots", plots),
        ("How to use it", _use(activation, package)),
        ("Accuracy", contents(certified := steps.pop("Certificate"))),
        ("Instructions", _instructions(activation, counts)),
        ("Source", contents(steps.pop("Kernels and module"))),
        ("From formula to kernel", parts.article([*steps.values()], 3)),
    ]
    body = "\n".join(section(title, text) for title, text in sections)
    page = (
        head(activation.name, kin, activation.doc, _facts(activation, elsewhere))
        + parts.links(title for title, _ in sections)
        + body
    )
    return Entry(
        activation.name,
        kin,
        _tags(activation, certified),
        _search(activation, kin, elsewhere),
        _card(activation, picture),
        page,
        tuple(filter(None, (no_plot, no_steps))),
    )


# One function that cannot be shown whole is no reason to have no gallery; it is told, on its page too.


def _plots(activation: Activation) -> tuple[str, str, str]:
    """The plots, the sketch, and a warning."""
    try:
        drawn = figures(activation)
    except CurveError as error:
        return unavailable(escape(str(error))), "", ""
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return unavailable(escape(reason)), "", f"{activation.name}: no plot ({reason})"
    return drawn.page, sketch(activation.name, drawn.sketch), ""


def _steps(activation: Activation, certificate: Certificate | None) -> tuple[dict[str, Part], str]:
    """The parts of the derivation by their titles, and a warning."""
    try:
        return {part.title: part for part in whole(activation, certificate)}, ""
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        missing = Part("", f"Not shown: {reason}")
        definition = Part("", code=f"{signature(activation)} = {activation.formula}", language="act")
        found = {"Definition": definition, "Certificate": missing, "Kernels and module": missing}
        return found, f"{activation.name}: no derivation ({reason})"


def contents(part: Part) -> str:
    """What stands below a part's heading."""
    return "".join(parts.contents(part))


def family(path: str) -> str:
    """What the definitions of a file are called together."""
    return PurePath(path).stem.replace("_", " ")


def head(name: str, kin: str, doc: str, facts: Sequence[tuple[str, str]]) -> str:
    """The top of a page: name, documentation, and facts, whose values are HTML already."""
    rows = "".join(f"<div><dt>{title}</dt><dd>{value}</dd></div>" for title, value in facts)
    return (
        f'<header class="title"><p class="family">{escape(kin)}</p><h1>{escape(name)}</h1>'
        f'<p>{html.text(doc)}</p><dl class="facts">{rows}</dl></header>\n'
    )


def section(title: str, body: str) -> str:
    """A section of a page, its body HTML already."""
    name = parts.anchor(title)
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>{body}</section>'


def _facts(activation: Activation, elsewhere: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    facts = [("Module", f"<code>{escape(activation.class_name)}</code>")]
    if activation.aliases:
        facts.append(
            ("Also called", ", ".join(f"<code>{escape(each)}</code>" for each in activation.aliases))
        )
    parameters = show_parameters(activation)
    if parameters:
        shown = ", ".join(f"<code>{escape(each)}</code>" for each in parameters)
        facts.append(("Parameters", shown))
    if activation.references:
        shown = ", ".join(f"<code>{escape(each.target)}</code>" for each in activation.references)
        facts.append(("In PyTorch", shown))
    facts += [(f"In {name}", escape(", ".join(theirs))) for name, theirs in elsewhere.items()]
    return facts


def _use(activation: Activation, package: str) -> str:
    needed = [f"{each.name}=..." for each in activation.settable if each.default is None]
    learned = [each.name for each in activation.learned]
    tensors = ", ".join((*activation.inputs, *learned))
    given = ", ".join(f"{each.name}=..." for each in activation.parameters if each.default is None)
    results = ", ".join(f"y{n}" for n, _ in enumerate(activation.outputs, 1))
    y = results if activation.others and not activation.concat else "y"
    said = f"y = {activation.name}({', '.join(filter(None, [tensors, given]))})"
    lines = [f"from {package} import {activation.class_name}, {activation.name}", ""]
    lines += [y + said[1:]] if not activation.random else [f"{said[:-1]}, training=True)"]
    lines += [f"layer = {activation.class_name}({', '.join(needed)})"]
    if activation.packed:
        lines += [f"{y} = layer(packed)  # or layer({', '.join(activation.inputs)})"]
    if learned:
        lines += [f"list(layer.parameters())  # {', '.join(learned)}"]
    told = "Then, in Python, on tensors of any shape and of float16, bfloat16, float32 or float64:"
    return use(activation.path, package, told, "\n".join(lines) + "\n")


def use(path: str, package: str, said: str, code: str) -> str:
    """How a package is built of a spec, and how it is used."""
    shell = f"dslgen build {PurePath(path).name} -o {package}"
    return (
        f"<p>Build the package, once:</p>{html.code(shell, 'bash')}"
        f"<p>{said}</p>{html.code(code, 'python')}"
    )


NOT_COUNTED = "Not counted: `dslgen inspect --all --write FILE` counts, `gallery --counts FILE` shows them."
COUNTED = "Machine instructions for each element, counted in compiled code."
_ROW: tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...] = (
    ("instructions", lambda row: f"{row['instructions']:.1f}"),
    ("of the slow unit", lambda row: f"{row['special']:.1f}"),
    ("registers", lambda row: str(row["registers"])),
    ("local memory, bytes", lambda row: str(row["spills"])),
    ("widths of loads, bits", lambda row: " ".join(map(str, sorted(set(row["loads"]))))),
)


def _instructions(activation: Activation, counts: Counts) -> str:
    rows = {key: row for key, row in counts.items() if key.split("/")[2] == activation.name}
    if not rows:
        return f"<p>{html.text(NOT_COUNTED)}</p>"
    return f"<p>{COUNTED}</p>{counted(rows)}"


def counted(rows: Counts) -> str:
    """Instruction counts as a table, a kernel a line."""
    lines = []
    for key, row in rows.items():
        target, dtype, _, kind = key.split("/")
        what = "derivative" if kind == "gradient" else kind
        lines.append((f"{dtype} {what}", target, *(show(row) for _, show in _ROW)))
    return html.table([("kernel", "GPU", *(title for title, _ in _ROW)), *lines], kind="numbers")


def _tags(activation: Activation, certified: Part) -> tuple[str, ...]:
    tags = {
        "one input": len(activation.inputs) == 1,
        "several inputs": len(activation.inputs) > 1,
        "several outputs": bool(activation.others),
        "parameters": bool(activation.parameters or activation.learned),
        "learnable parameters": bool(activation.learned),
        "in PyTorch": bool(activation.references),
        "certified": bool(certified.table),
        "rows": activation.dim is not None,
        "chance": activation.random,
    }
    return tuple(name for name, holds in tags.items() if holds)


FEATURES = (
    "one input",
    "several inputs",
    "several outputs",
    "parameters",
    "learnable parameters",
    "in PyTorch",
    "certified",
    "rows",
    "chance",
    "a model",
)


def _search(activation: Activation, family: str, elsewhere: Mapping[str, Sequence[str]]) -> str:
    theirs = [name for names in elsewhere.values() for name in names]
    words = (
        activation.name,
        *activation.aliases,
        activation.class_name,
        activation.doc,
        activation.formula,
        family,
        *theirs,
    )
    return " ".join(" ".join(words).lower().split())


def _card(activation: Activation, picture: str) -> str:
    said = _TITLE.sub("", activation.doc).strip()
    _, right = equations.written(activation).rows[0]
    return (
        f'{picture}<h3><a href="functions/{escape(activation.name)}.html">{escape(activation.name)}</a></h3>'
        f'<div class="formula">{mathml(right, display=True)}</div><p>{html.text(said)}</p>'
    )


def families(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Entries by their families, in order."""
    found: dict[str, list[Entry]] = {}
    for each in entries:
        found.setdefault(each.family, []).append(each)
    return found
