"""The language server, spoken to by a client of its protocol over standard input and output."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types as lsp
from pygls.lsp.client import LanguageClient

from dsl.editing import WORDS, Desk
from dsl.format import format_text
from dsl.functions import CALLABLE
from dsl.outline import CLAUSES
from dsl.project import check_text

ROOT = Path(__file__).parent.parent
GATE = """\
\"\"\"A gate, by 🜁.\"\"\"
gate(x, up; slope = 0.5) = 🜁 + swish(x) * u * slop
  with u = softplus(up, 2)
"""
SILU = """\
\"\"\"Sigmoid linear unit.\"\"\"
silu(x) = x * sigmoid(x)
  alias swish
softplus(x; beta = 1) = log(1 + exp(beta * x)) / beta
"""


class Session:
    """An editor with a project open, and what it was told."""

    def __init__(self, client: LanguageClient, folder: Path) -> None:
        self.client, self.folder = client, folder
        self.told: asyncio.Queue[lsp.PublishDiagnosticsParams] = asyncio.Queue()

    def uri(self, name: str) -> str:
        return (self.folder / name).as_uri()

    def open(self, name: str, text: str) -> None:
        document = lsp.TextDocumentItem(self.uri(name), "act", 1, text)
        self.client.text_document_did_open(lsp.DidOpenTextDocumentParams(document))

    def type(self, name: str, text: str, version: int = 2) -> None:
        change = lsp.TextDocumentContentChangeWholeDocument(text)
        document = lsp.VersionedTextDocumentIdentifier(version, self.uri(name))
        self.client.text_document_did_change(lsp.DidChangeTextDocumentParams(document, [change]))

    async def diagnostics(self, name: str) -> list[lsp.Diagnostic]:
        """What is told of a file next."""
        while True:
            said = await asyncio.wait_for(self.told.get(), 20)
            if said.uri == self.uri(name):
                return list(said.diagnostics)

    def at(self, name: str, text: str, mark: str, within: int = 0) -> dict[str, Any]:
        """The parameters for the place of a mark in a text, in UTF-16."""
        before = text[: text.index(mark) + within]
        line = before.count("\n")
        column = len(before.rpartition("\n")[2].encode("utf-16-le")) // 2
        return {"text_document": self.document(name), "position": lsp.Position(line, column)}

    def document(self, name: str) -> lsp.TextDocumentIdentifier:
        return lsp.TextDocumentIdentifier(self.uri(name))


@asynccontextmanager
async def session(folder: Path) -> AsyncIterator[Session]:
    client = LanguageClient("test", "1")
    editor = Session(client, folder)
    client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(lambda said: editor.told.put_nowait(said))
    await client.start_io(sys.executable, "-m", "dsl", "lsp", "--stdio", cwd=ROOT)
    started = lsp.InitializeParams(
        lsp.ClientCapabilities(), workspace_folders=[lsp.WorkspaceFolder(folder.as_uri(), "project")]
    )
    capabilities = (await client.initialize_async(started)).capabilities
    assert capabilities.position_encoding == lsp.PositionEncodingKind.Utf16
    client.initialized(lsp.InitializedParams())
    yield editor
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[Session], Awaitable[None]]], None]:
    """Have a conversation, in a project whose specs are `silu.act` and what the editor holds."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/silu.act").write_text(SILU, encoding="utf-8")

    def converse(talk: Callable[[Session], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with session(tmp_path / "specs") as editor:
                await talk(editor)

        (tmp_path / "pyproject.toml").write_text('[tool.dslgen]\nspecs = ["specs"]\n', encoding="utf-8")
        asyncio.run(asyncio.wait_for(whole(), 60))

    return converse


def test_a_session(run: Callable[[Callable[[Session], Awaitable[None]]], None]) -> None:
    async def talk(editor: Session) -> None:
        ask = editor.client
        editor.open("gate.act", GATE)
        found = await editor.diagnostics("gate.act")
        # What is told is what `dslgen check` finds: here, only the first slip, for the line does not parse.
        (error,) = check_text(GATE + SILU)
        assert [(each.code, each.severity) for each in found] == [(error.code, lsp.DiagnosticSeverity.Error)]
        place = found[0].range
        assert (place.start.line, place.start.character, place.end.character) == (1, 27, 29)  # 🜁 is two units

        # Half-typed as it is, everything else has an answer.
        told = await ask.text_document_hover_async(lsp.HoverParams(**editor.at("gate.act", GATE, "swish", 2)))
        assert told is not None
        assert isinstance(told.contents, lsp.MarkupContent)
        assert "silu(x) = x * sigmoid(x)" in told.contents.value
        assert "Sigmoid linear unit." in told.contents.value
        offered = await ask.text_document_completion_async(
            lsp.CompletionParams(**editor.at("gate.act", GATE, "slop\n", 4))
        )
        assert isinstance(offered, list)
        kinds = {each.label: each.kind for each in offered}
        assert kinds["slope"] == lsp.CompletionItemKind.Property
        assert {"x", "up", "u", "swish", "silu", "gate", "softplus", "erf", "pi"} <= set(kinds)

        right = GATE.replace("🜁 + ", "").replace("slop\n", "slope\n").replace(" * u", "*u")
        editor.type("gate.act", right)
        assert await editor.diagnostics("gate.act") == []
        for mark, within, file, line in (
            ("swish", 1, "silu.act", 1),  # an alias, in another file
            ("softplus", 1, "silu.act", 3),  # two arguments: the project's, not the language's
            ("*u", 1, "gate.act", 2),
            ("slope\n", 1, "gate.act", 1),
        ):
            origin = await ask.text_document_definition_async(
                lsp.DefinitionParams(**editor.at("gate.act", right, mark, within))
            )
            assert isinstance(origin, lsp.Location)
            assert (origin.uri, origin.range.start.line) == (editor.uri(file), line), mark
        symbols = await ask.text_document_document_symbol_async(
            lsp.DocumentSymbolParams(editor.document("gate.act"))
        )
        assert symbols is not None
        (symbol,) = symbols
        assert isinstance(symbol, lsp.DocumentSymbol)
        assert (symbol.name, symbol.detail) == ("gate", "gate(x, up; slope = 0.5)")
        assert [each.name for each in symbol.children or ()] == ["x", "up", "slope", "u"]
        edits = await ask.text_document_formatting_async(
            lsp.DocumentFormattingParams(editor.document("gate.act"), lsp.FormattingOptions(4, True))
        )
        assert edits is not None
        assert [edit.new_text for edit in edits] == [format_text(right)]

    run(talk)


def test_fixes_are_actions(run: Callable[[Callable[[Session], Awaitable[None]]], None]) -> None:
    async def talk(editor: Session) -> None:
        text = "f(x) = x^2\n\ng(x) = sofplus(x)\n"
        editor.open("f.act", text)
        found = await editor.diagnostics("f.act")
        assert [each.code for each in found] == ["E0105", "E0101"]
        titles = []
        for each in found:
            context = lsp.CodeActionContext([each])
            given = lsp.CodeActionParams(editor.document("f.act"), each.range, context)
            actions = await editor.client.text_document_code_action_async(given) or []
            fix = actions[0]
            assert isinstance(fix, lsp.CodeAction)
            assert fix.edit is not None
            assert fix.edit.changes is not None
            ((edit,),) = fix.edit.changes.values()
            titles.append((edit.new_text, edit.range.start.line, fix.is_preferred))
            assert actions[-1].title == "mend all slips"
        assert titles == [("**", 0, True), ("softplus", 2, None)]

    run(talk)


def test_what_another_file_loses_is_told(run: Callable[[Callable[[Session], Awaitable[None]]], None]) -> None:
    async def talk(editor: Session) -> None:
        editor.open("user.act", "user(x) = swish(x) + 1\n")
        assert await editor.diagnostics("user.act") == []
        editor.open("silu.act", SILU)
        editor.type("silu.act", SILU.replace("  alias swish\n", ""))
        (lost,) = await editor.diagnostics("user.act")
        assert lost.code == "E0101"
        editor.type("silu.act", SILU, 3)
        assert await editor.diagnostics("user.act") == []

    run(talk)


def test_every_word_has_a_meaning() -> None:
    assert set(CLAUSES) <= set(WORDS)
    documented = (ROOT / "docs/language.md").read_text(encoding="utf-8")
    for word in WORDS:
        assert re.search(rf"`{word}\b|^\s*{word} |\b{word} ", documented, re.MULTILINE), word


def test_every_function_can_be_told_and_offered(tmp_path: Path) -> None:
    for name, row in CALLABLE.items():
        file = tmp_path / "f.act"
        for text in (f"f(x) = {name}(", f"f(x) = {row.call}"):
            desk = Desk(file, {file: text})
            told = desk.tell(len("f(x) = "))
            assert told is not None, text
            assert told.text.startswith(f"```act\n{name}("), text
            offered = {offer.word: offer for offer in desk.offers(len("f(x) = "))}
            assert name in offered


def test_a_definition_or_a_parameter_of_such_a_name_comes_first(tmp_path: Path) -> None:
    file = tmp_path / "f.act"
    text = "normal(x, y) = x + y\nf(x; slope = 1) = normal(slope, 1) + slope(x, 1) * sum(k in 0..2: x**k)"
    desk = Desk(file, {file: text})
    for mark, said in (
        ("normal(slope", "normal(x, y) = x + y"),
        ("slope, 1", "parameter of `f`"),
        ("slope(x", "whose derivative by x is s"),
        ("sum(k", "both included"),
    ):
        told = desk.tell(text.index(mark))
        assert told is not None
        assert said in told.text, mark
    found = desk.origin(text.index("normal(slope"))
    assert found is not None
    assert found.place.start == 0


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("f(x) = x * a\n  with a = uniform(0, 1) in ", {"training", "eval"}),
        ("f(x) = x * a\n  with a = 1 in training, 2 in ev", {"training", "eval"}),
        ("f(x; learn a[", {"channel"}),
    ],
)
def test_a_place_for_few_words(text: str, offered: set[str], tmp_path: Path) -> None:
    file = tmp_path / "f.act"
    assert {each.word for each in Desk(file, {file: text}).offers(len(text))} == offered


@pytest.mark.parametrize("text", ["", "\n", "# nothing yet\n", "f", "f(x", "f(x) ", '"""half a'])
def test_a_file_without_a_definition_has_answers(text: str, tmp_path: Path) -> None:
    """Every file begins so."""
    file = tmp_path / "f.act"
    desk = Desk(file, {file: text})
    for at in range(len(text) + 1):
        desk.offers(at)
        desk.tell(at)
        desk.origin(at)
    desk.findings()


def test_an_index_is_not_a_mode(tmp_path: Path) -> None:
    text = "f(x) = a\n  with a = sum(k in "
    file = tmp_path / "f.act"
    assert "relu" in {each.word for each in Desk(file, {file: text}).offers(len(text))}


def test_dotted_names_and_comments_mean_nothing_here(tmp_path: Path) -> None:
    file = tmp_path / "elu.act"
    text = "elu(x) = x # an elu\n  reference torch.nn.functional.elu\n"
    desk = Desk(file, {file: text})
    for mark in ("an elu", "torch", ".elu"):
        place = text.index(mark) + len(mark) - 1
        assert desk.tell(place) is None, mark
        assert desk.origin(place) is None, mark
    assert desk.origin(1) is not None


def test_without_pygls_a_message() -> None:
    code = (
        "import sys; from importlib import util; find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'pygls' else find(name, *more)\n"
        "from dsl.cli import main; main(['lsp'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'dslgen[lsp]'" in done.stderr
    assert "Traceback" not in done.stderr
