"""A language server for specs, over standard input and output: `dslgen lsp`.

In: what an editor sends in the Language Server Protocol. Out: its answers, from `dsl.editing`, in the terms
of the protocol: lines and columns from 0, columns counted in the units that editor and server agreed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path
from pygls.workspace import PositionCodec

from dsl import __version__
from dsl.editing import Desk
from dsl.errors import Fix, Span, SpecError, SpecErrors
from dsl.format import format_text
from dsl.outline import Stretch, outline
from dsl.project import read_spec

PAUSE = 0.15
"""Seconds without a key after which a text is checked."""

_KINDS: Mapping[str, lsp.CompletionItemKind] = {
    "function": lsp.CompletionItemKind.Function,
    "definition": lsp.CompletionItemKind.Class,
    "constant": lsp.CompletionItemKind.Constant,
    "input": lsp.CompletionItemKind.Variable,
    "parameter": lsp.CompletionItemKind.Property,
    "with": lsp.CompletionItemKind.Variable,
    "clause": lsp.CompletionItemKind.Keyword,
    "unit": lsp.CompletionItemKind.Unit,
}
_SYMBOLS: Mapping[str, lsp.SymbolKind] = {
    "definition": lsp.SymbolKind.Function,
    "model": lsp.SymbolKind.Module,
    "input": lsp.SymbolKind.Variable,
    "parameter": lsp.SymbolKind.Property,
    "with": lsp.SymbolKind.Variable,
}


class Lines:
    """A text's lines, by which characters from 0, lines and columns are turned into each other."""

    def __init__(self, text: str, codec: PositionCodec) -> None:
        self.lines = text.split("\n")
        self.codec = codec
        self.starts = [0, *accumulate(len(line) + 1 for line in self.lines)]

    def at(self, position: lsp.Position) -> int:
        """A position as the character that it is before."""
        place = self.codec.position_from_client_units(self.lines, position)
        return min(self.starts[place.line] + place.character, self.starts[-1] - 1)

    def position(self, line: int, character: int) -> lsp.Position:
        """A line and a character of it, both from 0, as a position."""
        return self.codec.position_to_client_units(self.lines, lsp.Position(line, character))

    def place(self, at: int) -> lsp.Position:
        """The position before a character."""
        line = max(number for number, start in enumerate(self.starts[:-1]) if start <= at)
        return self.position(line, at - self.starts[line])

    def stretch(self, given: Stretch) -> lsp.Range:
        """A part of the text."""
        return lsp.Range(self.place(given.start), self.place(given.end))

    def span(self, given: Span) -> lsp.Range:
        """The place of a finding: the file's beginning for what has no line."""
        if not given.line:
            return lsp.Range(lsp.Position(0, 0), lsp.Position(0, 0))
        start = self.position(given.line - 1, given.column - 1)
        return lsp.Range(start, self.position(given.end_line - 1, given.end_column - 1))

    def edit(self, fix: Fix) -> lsp.TextEdit:
        """A fix."""
        return lsp.TextEdit(self.span(fix.span), fix.text)


class Server(LanguageServer):
    """The server, and the findings that it has told of each file."""

    def __init__(self) -> None:
        super().__init__("dslgen", __version__, lsp.TextDocumentSyncKind.Full)
        self.told: dict[Path, list[SpecError]] = {}
        self.waiting: asyncio.Task[None] | None = None

    def texts(self) -> dict[Path, str]:
        """What editors hold, by file."""
        documents = self.workspace.text_documents.values()
        return {file_of(each.uri): _plain(each.source) for each in documents}

    def desk(self, uri: str) -> Desk:
        """The project around a file."""
        file = file_of(uri)
        texts = self.texts()
        texts.setdefault(file, _read(file))
        return Desk(file, texts, [file_of(uri) for uri in self.workspace.folders])

    def lines(self, text: str) -> Lines:
        """A text's lines, in the editor's units."""
        return Lines(text, self.workspace.position_codec)

    def check(self, uri: str) -> None:
        """Tell what is wrong in a file's project, and what no longer is."""
        desk = self.desk(uri)
        found = desk.findings()
        for file, errors in found.items():
            if errors or self.told.get(file) or file == desk.file:
                self.tell(file, errors, desk.texts)
        self.told |= found

    def tell(self, file: Path, errors: list[SpecError], texts: Mapping[Path, str]) -> None:
        """Tell what is wrong in one file."""
        lines = self.lines(texts[file] if file in texts else _read(file))
        said = [diagnostic(error, lines) for error in errors]
        self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(self.uri(file), said))

    def uri(self, file: Path) -> str:
        """A file's URI: the one that the editor has for it, if it is open."""
        documents = self.workspace.text_documents.values()
        return next((each.uri for each in documents if file_of(each.uri) == file), file.as_uri())


def serve() -> None:
    """Answer an editor over standard input and output until it ends."""
    server = Server()
    for feature, (answer, options) in _FEATURES.items():
        server.feature(feature, options)(answer)
    server.start_io()


def file_of(uri: str) -> Path:
    """The file of a URI; what was never saved stands where no file is."""
    return Path(to_fs_path(uri) or "") if uri.startswith("file:") else Path("/", uri)


def diagnostic(error: SpecError, lines: Lines) -> lsp.Diagnostic:
    """A finding in the protocol's terms."""
    text = error.message + (f" ({error.suggestion})" if error.suggestion else "")
    return lsp.Diagnostic(
        lines.span(error.span), text, lsp.DiagnosticSeverity.Error, code=error.code, source="dslgen"
    )


def _plain(text: str) -> str:
    """A text with the line ends that specs are read with."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read(file: Path) -> str:
    try:
        return read_spec(file)
    except SpecError:
        return ""


def _opened(server: Server, given: lsp.DidOpenTextDocumentParams | lsp.DidSaveTextDocumentParams) -> None:
    server.check(given.text_document.uri)


async def _changed(server: Server, given: lsp.DidChangeTextDocumentParams) -> None:
    if server.waiting is not None:
        server.waiting.cancel()
    server.waiting = asyncio.create_task(_later(server, given.text_document.uri))


async def _later(server: Server, uri: str) -> None:
    await asyncio.sleep(PAUSE)
    server.check(uri)


def _closed(server: Server, given: lsp.DidCloseTextDocumentParams) -> None:
    server.check(given.text_document.uri)


def _hover(server: Server, given: lsp.HoverParams) -> lsp.Hover | None:
    desk = server.desk(given.text_document.uri)
    lines = server.lines(desk.texts[desk.file])
    told = desk.tell(lines.at(given.position))
    if told is None:
        return None
    return lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, told.text), lines.stretch(told.place))


def _completion(server: Server, given: lsp.CompletionParams) -> list[lsp.CompletionItem]:
    desk = server.desk(given.text_document.uri)
    offers = desk.offers(server.lines(desk.texts[desk.file]).at(given.position))
    return [
        lsp.CompletionItem(
            offer.word,
            kind=_KINDS[offer.kind],
            detail=offer.detail,
            documentation=lsp.MarkupContent(lsp.MarkupKind.Markdown, offer.text) if offer.text else None,
        )
        for offer in offers
    ]


def _definition(server: Server, given: lsp.DefinitionParams) -> lsp.Location | None:
    desk = server.desk(given.text_document.uri)
    found = desk.origin(server.lines(desk.texts[desk.file]).at(given.position))
    if found is None:
        return None
    text = desk.texts[found.file] if found.file in desk.texts else _read(found.file)
    return lsp.Location(server.uri(found.file), server.lines(text).stretch(found.place))


def _formatting(server: Server, given: lsp.DocumentFormattingParams) -> list[lsp.TextEdit] | None:
    desk = server.desk(given.text_document.uri)
    before = desk.texts[desk.file]
    try:
        after = format_text(before, desk.file.as_posix())
    except SpecErrors:  # What does not parse is left alone; its findings say why.
        return None
    whole = server.lines(before).stretch(Stretch(0, len(before)))
    return [] if after == before else [lsp.TextEdit(whole, after)]


def _symbols(server: Server, given: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol]:
    desk = server.desk(given.text_document.uri)
    text = desk.texts[desk.file]
    lines = server.lines(text)
    return [
        lsp.DocumentSymbol(
            entry.name,
            _SYMBOLS[entry.kind],
            lines.stretch(entry.whole),
            lines.stretch(entry.place),
            detail=entry.head,
            children=[
                lsp.DocumentSymbol(
                    named.name, _SYMBOLS[named.kind], lines.stretch(named.place), lines.stretch(named.place)
                )
                for named in entry.names
            ],
        )
        for entry in outline(text)
    ]


def _actions(server: Server, given: lsp.CodeActionParams) -> list[lsp.CodeAction]:
    """An edit for each finding that has one, and all that can only be slips as one."""
    uri = given.text_document.uri
    desk = server.desk(uri)
    lines = server.lines(desk.texts[desk.file])
    mended = [error for error in desk.findings().get(desk.file, []) if error.fix is not None]

    def action(title: str, kind: lsp.CodeActionKind, errors: list[SpecError], safe: bool) -> lsp.CodeAction:
        edits = [lines.edit(error.fix) for error in errors if error.fix is not None]
        said = [diagnostic(error, lines) for error in errors]
        return lsp.CodeAction(
            title, kind, said, is_preferred=safe or None, edit=lsp.WorkspaceEdit(changes={uri: edits})
        )

    def is_near(error: SpecError) -> bool:
        place = lines.span(error.span)
        return place.start <= given.range.end and given.range.start <= place.end

    found = [
        action(
            f"put '{error.fix.text}'" if error.fix.text else "take it away",
            lsp.CodeActionKind.QuickFix,
            [error],
            error.fix.safe,
        )
        for error in mended
        if error.fix is not None and is_near(error)
    ]
    safe = [error for error in mended if error.fix is not None and error.fix.safe]
    if safe:
        found.append(action("mend all slips", lsp.CodeActionKind.SourceFixAll, safe, False))
    wanted = [f"{kind}." for kind in given.context.only or ()]  # "source" asks for "source.fixAll", too
    return [each for each in found if not wanted or f"{each.kind}.".startswith(tuple(wanted))]


_FEATURES: Mapping[str, tuple[Callable[..., Any], Any]] = {
    lsp.TEXT_DOCUMENT_DID_OPEN: (_opened, None),
    lsp.TEXT_DOCUMENT_DID_SAVE: (_opened, None),
    lsp.TEXT_DOCUMENT_DID_CHANGE: (_changed, None),
    lsp.TEXT_DOCUMENT_DID_CLOSE: (_closed, None),
    lsp.TEXT_DOCUMENT_HOVER: (_hover, None),
    lsp.TEXT_DOCUMENT_COMPLETION: (_completion, None),
    lsp.TEXT_DOCUMENT_DEFINITION: (_definition, None),
    lsp.TEXT_DOCUMENT_FORMATTING: (_formatting, None),
    lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL: (_symbols, None),
    lsp.TEXT_DOCUMENT_CODE_ACTION: (
        _actions,
        lsp.CodeActionOptions([lsp.CodeActionKind.QuickFix, lsp.CodeActionKind.SourceFixAll]),
    ),
}
"""What the server answers, and how."""
