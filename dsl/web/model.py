"""The page of one model, and its card in the index.

In: a model, the generated package's name. Out: `Entry`, HTML that the gallery puts in place.
"""

from __future__ import annotations

from html import escape

from dsl.derivation import of_model
from dsl.model import Model
from dsl.web import html, parts
from dsl.web.function import Entry, contents, family, head, section, use

TAG = "a model"


def entry(model: Model, package: str) -> Entry:
    """A model's page and card."""
    steps = {part.title: part for part in of_model(model)}
    sections = [
        ("Definition", contents(steps.pop("Definition"))),
        ("How to use it", _use(model, package)),
        ("Source", contents(steps.pop("Kernels and module"))),
        *((title, contents(part)) for title, part in steps.items()),
    ]
    called = ", ".join(f'<a href="{each.name}.html">{each.name}</a>' for each in model.activations)
    facts = [("Module", f"<code>{escape(model.class_name)}</code>"), ("Activations", called)]
    words = (model.name, model.class_name, model.doc, model.formula, family(model.path))
    return Entry(
        model.name,
        family(model.path),
        (TAG,),
        " ".join(" ".join(words).lower().split()),
        _card(model),
        head(model.name, family(model.path), model.doc, facts)
        + parts.links(title for title, _ in sections)
        + "\n".join(section(title, body) for title, body in sections),
    )


def _use(model: Model, package: str) -> str:
    given = ", ".join(f"{each.name}=..." for each in model.arguments if each.default is None)
    code = f"from {package} import {model.class_name}\n\nmodel = {model.class_name}({given})\ny = model(x)\n"
    return use(model.path, package, "Then, in Python:", code)


def _card(model: Model) -> str:
    stages = "".join(
        f"<li><code>{escape(stage.split('(')[0].strip())}</code></li>" for stage in model.formula.split("->")
    )
    return (
        f'<h3><a href="functions/{escape(model.name)}.html">{escape(model.name)}</a></h3>'
        f'<ol class="stages">{stages}</ol><p>{html.text(model.doc)}</p>'
    )
