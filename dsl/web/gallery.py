"""The gallery: a site of all specs, that opens from a disk and from a server alike.

In: activations, certificates, instruction counts. Out: a folder, whole or as it was before. Pages are made in
processes of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from html import escape
from multiprocessing import get_context
from pathlib import Path
from secrets import token_hex
from typing import Any

from dsl import __version__
from dsl.activation import Activation
from dsl.build import BuildError
from dsl.certificate import Certificate
from dsl.files import read_text
from dsl.model import Model
from dsl.web import html
from dsl.web.function import FEATURES, Counts, Entry, entry, families
from dsl.web.html import attributes
from dsl.web.model import entry as model_entry
from dsl.web.parts import anchor

MARK = ".dslgen-gallery"
"""The file that says that a folder is ours, and which files in it are."""
ASSETS = ("style.css", "gallery.js")


def read_counts(path: Path | None) -> Counts:
    """The rows of a file of instruction counts; none where there is no file.

    Raises `BuildError` for a file that is something else.
    """
    text = None if path is None else read_text(path)
    if text is None:
        return {}
    try:
        rows: Counts = json.loads(text)["kernels"]
        if not all(len(key.split("/")) == 4 and "instructions" in row for key, row in rows.items()):
            raise ValueError("rows of another kind")
        return rows
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(
            f"{path} has no instruction counts ({error}): make it by dslgen inspect --write"
        ) from None


def entries(
    specs: Sequence[Path],
    activations: Sequence[Activation],
    models: Sequence[Model],
    held: Mapping[str, Certificate],
    counts: Counts,
    elsewhere: Mapping[str, Mapping[str, Sequence[str]]],
    package: str,
    jobs: int,
    progress: Callable[[int, int, str], None],
) -> list[Entry]:
    """What the gallery shows of each activation and model; `progress` is told how many are done.

    `elsewhere` has, by name, what other frameworks call an activation.
    """
    found: dict[str, Entry] = {}
    with _pool(jobs, specs) as pool:
        pending = {
            pool.submit(
                _entry,
                each.name,
                held.get(each.name),
                {key: row for key, row in counts.items() if key.split("/")[2] == each.name},
                package,
                elsewhere.get(each.name, {}),
            ): each.name
            for each in activations
        }
        for done, future in enumerate(as_completed(pending), 1):
            made = future.result()
            found[made.name] = made
            progress(done, len(pending), made.name)
    return [*(found[each.name] for each in activations), *(model_entry(each, package) for each in models)]


@contextmanager
def _pool(jobs: int, specs: Sequence[Path]) -> Iterator[ProcessPoolExecutor]:
    paths = tuple(str(path.absolute()) for path in specs)
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _start, (paths,))
    try:
        yield pool
    except BaseException:
        workers = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_activations: dict[str, Activation] = {}
"""In the processes that make pages: what the specs define."""


def _start(paths: tuple[str, ...]) -> None:
    import numpy as np

    from dsl.project import read_project

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends quietly with the command
    np.seterr(all="ignore")
    project = read_project([Path(path) for path in paths])
    _activations.update({each.name: each for each in project.activations})


def _entry(name: str, *more: Any) -> Entry:
    return entry(_activations[name], *more)


# The site


def site(shown: Sequence[Entry]) -> dict[str, str]:
    """The files of the gallery: their names, `/` between folders, and what they hold."""
    files = {name: html.asset(name) for name in ASSETS}
    files["index.html"] = _index(shown)
    for place, each in enumerate(shown):
        before = shown[place - 1] if place else None
        after = shown[place + 1] if place + 1 < len(shown) else None
        files[f"functions/{each.name}.html"] = _page(each, before, after)
    return files


NONE = "Nothing is like that. `dslgen playground` draws any formula."


def _index(shown: Sequence[Entry]) -> str:
    by_family = families(shown)
    kinds = "".join(_box("family", name, f"{name} ({len(found)})") for name, found in by_family.items())
    kept = [name for name in FEATURES if any(name in each.tags for each in shown)]
    features = "".join(_box("tag", name, name) for name in kept)
    groups = "\n".join(
        f'<section class="group" aria-labelledby="{anchor(name)}"><h2 id="{anchor(name)}">{escape(name)}</h2>'
        f'<ul class="cards">{"".join(map(_card, found))}</ul></section>'
        for name, found in by_family.items()
    )
    body = (
        f'{_banner("")}<main id="main">\n<header class="title"><h1>Activation functions</h1>'
        f"<p>{len(shown)} definitions, each a line of mathematics: what it looks like, how accurate its "
        "kernels are, what they cost, and how the formula became the code.</p></header>\n"
        '<form role="search" class="filters"><p><label for="q">Search</label>'
        '<input type="search" id="q" autocomplete="off" spellcheck="false" aria-describedby="hint">'
        '<span id="hint">names, formulas, papers; <kbd>/</kbd> comes here</span></p>'
        f"<fieldset><legend>Family</legend>{kinds}</fieldset>"
        f"<fieldset><legend>Only with</legend>{features}</fieldset>"
        '<p><output id="count" role="status"></output>'
        '<button type="reset" id="clear" hidden>Show all</button></p></form>\n'
        f'{groups}\n<p id="none" hidden>{html.text(NONE)}</p></main>{_footer()}'
    )
    return html.page("Activation functions", body, ["style.css"], ["gallery.js"])


def _box(kind: str, value: str, label: str) -> str:
    return (
        f'<label class="chip"><input type="checkbox" name="{kind}" value="{escape(value)}">'
        f"<span>{escape(label)}</span></label>"
    )


def _card(each: Entry) -> str:
    values = {"data-search": each.search, "data-family": each.family, "data-tags": "|".join(each.tags)}
    return f'<li class="card"{attributes(values)}>{each.card}</li>'


def _page(each: Entry, before: Entry | None, after: Entry | None) -> str:
    turns = [
        f'<a rel="{rel}" href="{escape(other.name)}.html">{text.format(escape(other.name))}</a>'
        for rel, other, text in (("prev", before, "← {}"), ("next", after, "{} →"))
        if other is not None
    ]
    body = (
        f'{_banner("../")}<main id="main" class="function">\n{each.page}\n'
        f'<nav class="turn" aria-label="Neighbours">{"".join(turns)}</nav></main>{_footer()}'
    )
    return html.page(f"{each.name} – activation functions", body, ["../style.css"], ["../gallery.js"])


def _banner(root: str) -> str:
    return (
        '<a class="skip" href="#main">Skip to the content</a><header class="banner"><nav aria-label="Site">'
        f'<a href="{root}index.html">dslgen</a></nav></header>\n'
    )


def _footer() -> str:
    return f'<footer class="foot">Made by dslgen {__version__}.</footer>'


# The folder


def refuse_foreign(out: Path) -> None:
    """Raise `BuildError` where a folder holds what `dslgen gallery` did not put there."""
    if not out.exists():
        return
    if not out.is_dir():
        raise BuildError(f"{out} is not a directory")
    listed = read_text(out / MARK)
    ours = set() if listed is None else {MARK, *listed.split("\n")}
    there = sorted(
        path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_symlink() or not path.is_dir()
    )
    foreign = [name for name in there if name not in ours]
    if foreign:
        raise BuildError(
            f"{out} holds {foreign[0]}, which dslgen gallery did not make: "
            "move it away or choose another directory"
        )


def write(files: Mapping[str, str], out: Path) -> None:
    """Put a site where a folder is: it is written beside it, and takes its place when it is complete."""
    out = out.resolve()
    refuse_foreign(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    name = f".{out.name}.{os.getpid()}.{token_hex(4)}"
    fresh, old = out.with_name(f"{name}.new"), out.with_name(f"{name}.old")
    try:
        for path, text in {**files, MARK: "\n".join(sorted(files))}.items():
            target = fresh / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        if out.exists():
            out.rename(old)
        try:
            fresh.rename(out)
        except BaseException:
            if old.exists():
                old.rename(out)
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
