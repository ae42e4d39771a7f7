"""What an editor asks while a spec is typed: what is wrong, what a word is, what may come, where it stands.

In: the texts of a project's files, a file, a place in it. Out: plain values, for `dsl.lsp` to send.
Places are characters from 0. Answers come from tokens, so that a definition that does not parse has some;
what is wrong is what `dslgen check` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dsl import functions
from dsl.config import ConfigError, load
from dsl.errors import SpecError
from dsl.format import Token, tokens_of
from dsl.functions import CALLABLE
from dsl.ops import CONSTANTS, OPS
from dsl.outline import CLAUSES, LEARN, Entry, Stretch, closing, outline, stretch, word_at
from dsl.project import read_project, read_spec, spec_files

WORDS: Mapping[str, str] = {
    "accuracy": "`accuracy forward 2 ulp, backward 4 ulp`: the greatest error allowed.",
    "alias": "`alias swish`: a second name for the function; may be given more than once.",
    "concat": "`concat halves`, `concat interleaved`: one tensor holds all outputs.",
    "domain": "`domain x > 0`: where the formula is defined; NaN outside.",
    "gradient": "`gradient = expr`: the derivative to use in the place of the function's own.",
    "eval": "`with a = uniform(0, 1) in training, 1/2 in eval`: what a name is in evaluation.",
    "learn": "`learn beta = 1.0`: a parameter that is trained; `learn w[channel]`, one for each channel.",
    "model": "`model name(arguments) = stage -> stage`: a model around an activation.",
    "module": "`module ELU`: the class's name; without it, the function's in CamelCase.",
    "packed": "`packed halves`, `packed interleaved`: one tensor may hold all inputs.",
    "reference": "`reference torch.nn.functional.elu`: the function that tests hold it against, with fixed "
    "keyword arguments in brackets.",
    "require": "`require alpha > 0`: a constraint on parameters, checked at each call.",
    "training": "`with a = uniform(0, 1) in training, 1/2 in eval`: what a name is in training.",
    "with": "`with u = expr`: a name for a subexpression; later ones may use earlier ones. "
    "`with u = a in training, b in eval`: one for each.",
}
"""What the words of clauses and declarations mean, in Markdown."""

AFTER: Mapping[str, tuple[str, ...]] = {
    "accuracy": ("forward", "backward", "ulp"),
    **dict.fromkeys(("concat", "packed"), ("halves", "interleaved")),
    **dict.fromkeys(("alias", "model", "module", "reference", "with", LEARN), ()),
}
"""What may come after a word that no expression follows."""

MODES = ("training", "eval")
"""What may come after the `in` of a `with`."""
OFFERED = functions.named("value", "row", "mark", "series")
"""Functions that can be typed."""


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to say of a word, in Markdown, and where the word is."""

    text: str
    place: Stretch


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be typed: a word, what it is, and what there is to say of it."""

    word: str
    kind: Literal["function", "definition", "constant", "input", "parameter", "with", "clause", "unit"]
    detail: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Where something is defined: a file, the name there, and all of the definition."""

    file: Path
    place: Stretch
    whole: Stretch


class Desk:
    """A project around one of its files, with the texts that editors hold in the place of files.

    `folders` are where editors were opened: without a pyproject.toml, a project's specs are found from there.
    """

    def __init__(self, file: Path, texts: Mapping[Path, str], folders: Sequence[Path] = ()) -> None:
        self.file = file
        self.texts = texts
        roots = self._roots(folders)
        beside = [each for each in texts if any(each.is_relative_to(root) for root in roots)]
        self.paths = [*roots, *beside] if roots else [file]

    def _roots(self, folders: Sequence[Path]) -> list[Path]:
        """The project's specs, if the file is one of them."""
        for start in (self.file.parent, *folders):
            try:
                specs = [start / spec for spec in load(start).specs]
            except ConfigError:  # Every command says so; a file by itself can be read all the same.
                continue
            if any(self.file.is_relative_to(spec) for spec in specs):
                return [spec for spec in specs if spec.exists()]
        return []

    def findings(self) -> dict[Path, list[SpecError]]:
        """What `dslgen check` finds in each of the project's files, or in the one that is by itself."""
        project = read_project(self.paths, texts=self.texts)
        found: dict[Path, list[SpecError]] = {file: [] for file in project.files}
        for error in project.errors:
            found.setdefault(Path(error.span.path), []).append(error)
        return found

    def tell(self, at: int) -> Told | None:
        """What a word of the file means."""
        word = word_at(self._text, at)
        if word is None:
            return None
        text = next(self._meanings(word), None)
        return None if text is None else Told(text, stretch(word))

    def origin(self, at: int) -> Found | None:
        """Where what a word means is defined, if that is in the project."""
        word = word_at(self._text, at)
        if word is None:
            return None
        scope = self._scope(word.start)
        for named in scope.names if scope else ():
            if named.name == word.text and not self._is_called(word):
                return Found(self.file, named.place, named.place)
        if self._is_builtin(word):
            return None
        for file, entry in self._entries():
            if word.text in (entry.name, *entry.aliases):
                return Found(file, entry.place, entry.whole)
        return None

    def offers(self, at: int) -> list[Offer]:
        """What may be typed at a place, in no order."""
        begun = next((token for token in tokens_of(self._text) if stretch(token).touches(at)), None)
        if begun is not None and begun.kind in ("comment", "string") and begun.start < at:
            return []
        line = self._text[self._text.rfind("\n", 0, at) + 1 : at]
        clause = re.match(rf"\s*({'|'.join(AFTER)})\s+[\w.\s,]*\Z", line)
        if clause:
            return [Offer(word, "unit", clause[1]) for word in AFTER[clause[1]]]
        scope = self._scope(at)
        if re.match(r"\s*with\b", line) and re.search(r"\bin\s+\w*\Z", line) and _is_closed(line):
            return [Offer(word, "unit", "mode", WORDS[word]) for word in MODES]
        if re.search(r"\blearn\s+\w+\s*\[\s*\w*\Z", line):
            return [Offer("channel", "unit", "a value for each channel")]
        offers = [Offer(each.name, each.kind, each.text) for each in (scope.names if scope else ())]
        if re.fullmatch(r"\s*\w*", line):
            offers += [Offer(word, "clause", "clause", WORDS[word]) for word in CLAUSES]
        names = {each.word for each in offers}
        for _, entry in self._entries():
            offers += [
                Offer(name, "definition", entry.head, _entry_text(entry))
                for name in (entry.name, *entry.aliases)
                if name not in names
            ]
            names |= {entry.name, *entry.aliases}
        offers += [
            Offer(name, "function", CALLABLE[name].call, CALLABLE[name].meaning)
            for name in OFFERED
            if name not in names
        ]
        return offers + [Offer(name, "constant", OPS[name].meaning) for name in CONSTANTS]

    @property
    def _text(self) -> str:
        return self.texts[self.file]

    def _entries(self) -> Iterator[tuple[Path, Entry]]:
        """What the project defines, the file itself first."""
        for file in sorted(spec_files(self.paths), key=lambda each: each != self.file):
            try:
                text = self.texts[file] if file in self.texts else read_spec(file)
            except SpecError:
                continue
            for entry in outline(text):
                yield file, entry

    def _scope(self, at: int) -> Entry | None:
        """The definition that a place is in, or directly behind."""
        before = [entry for entry in outline(self._text) if entry.whole.start <= at]
        return before[-1] if before else None

    def _meanings(self, word: Token) -> Iterator[str]:
        """What a word means, the likeliest first."""
        scope = self._scope(word.start)
        called = self._is_called(word)
        for named in scope.names if scope and not called else ():
            if named.name == word.text:
                yield f"{_code(named.text)}\n\n{named.kind} of `{scope.name if scope else ''}`"
        if not called and word.text in WORDS:
            yield WORDS[word.text]
        if self._is_builtin(word):
            yield _builtin_text(word.text)
        for _, entry in self._entries():
            if word.text in (entry.name, *entry.aliases):
                yield _entry_text(entry)
        if word.text in CALLABLE:
            yield _builtin_text(word.text)
        if word.text in CONSTANTS:
            yield f"{_code(word.text)}\n\n{OPS[word.text].meaning}"

    def _is_called(self, word: Token) -> bool:
        return self._text[stretch(word).end :].lstrip()[:1] == "("

    def _is_builtin(self, word: Token) -> bool:
        """Whether a call is of the language's own function, as `dsl.translate.is_builtin_call` has it."""
        scope = self._scope(word.start)
        if word.text not in CALLABLE or (scope and scope.place == stretch(word)):
            return False
        if CALLABLE[word.text].kind == "mark":  # A project's own definition of that name comes first.
            return not any(word.text in (entry.name, *entry.aliases) for _, entry in self._entries())
        if scope and word.text in (scope.name, *scope.aliases):
            return True
        row = [
            token for token in tokens_of(self._text) if token.start > word.start and token.kind != "comment"
        ]
        close = closing(row, 0) if row and row[0].text == "(" else None
        if close is None:
            return True
        depth, count = 0, 1
        for token in row[:close]:
            depth += (token.text in "([") - (token.text in ")]")
            count += depth == 1 and token.text == ","
            if depth == 1 and token.text == "=":
                return False
            if depth == 1 and token.text == "..":
                return CALLABLE[word.text].kind == "series"
        return count == CALLABLE[word.text].arity


def _is_closed(line: str) -> bool:
    return line.count("(") == line.count(")")


def _code(text: str) -> str:
    return f"```act\n{text}\n```"


def _builtin_text(name: str) -> str:
    return f"{_code(CALLABLE[name].call)}\n\n{CALLABLE[name].meaning}"


def _entry_text(entry: Entry) -> str:
    return "\n\n".join([_code(entry.text), *([entry.doc] if entry.doc else [])])
