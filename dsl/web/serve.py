"""The playground: a page on this machine, and the compiler behind it.

In: requests of a browser. Out: the page, and answers, a JSON object a line. A page elsewhere cannot drive it:
answers are given to requests that name this server as their host and as their origin and hold the session's
token, which stands in the fragment of the address that is printed and is never sent on its own. GET gives
three fixed files and changes nothing.
"""

from __future__ import annotations

import hmac
import json
import math
import os
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import starmap
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dsl.cache import VARIABLE
from dsl.web import html
from dsl.web.answers import Question, definitions
from dsl.web.worker import Work, prepare

ADDRESS = "127.0.0.1"
MAX_TEXT = 4_000
"""Characters of a text that is looked at."""
MAX_BODY = 40_000
AT_ONCE = 4
"""Questions answered at a time; one of each page, for a newer one ends the one before."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Refused(Exception):
    """A request that is not answered: a status, and why."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Server(ThreadingHTTPServer):
    """The playground's server: the session's token, its files, and the questions being answered."""

    daemon_threads = True

    def __init__(self, port: int, specs: Sequence[Path]) -> None:
        super().__init__((ADDRESS, port), Handler)
        self.token = secrets.token_urlsafe(32)
        self.specs = tuple(str(path.absolute()) for path in specs)
        self.files = {
            "/": ("text/html", page(definitions(specs))),
            "/style.css": ("text/css", html.asset("style.css") + html.asset("playground.css")),
            "/playground.js": ("text/javascript", html.asset("playground.js")),
        }
        self._works: dict[str, Work] = {}
        self._lock = threading.Lock()

    @property
    def hosts(self) -> tuple[str, ...]:
        """What this server is called, by browsers that were sent here."""
        return tuple(f"{name}:{self.server_port}" for name in (ADDRESS, "localhost"))

    @property
    def url(self) -> str:
        """Where to go, with the token."""
        return f"http://{self.hosts[0]}/#{self.token}"

    def begin(self, tab: str, question: Question) -> Work:
        """A question of a page, in the place of its last one; raises `Refused` if there are too many."""
        work = Work(question)
        with self._lock:
            if tab in self._works:
                self._works.pop(tab).stop()
            if len(self._works) >= AT_ONCE:
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many pages ask at once")
            self._works[tab] = work
        return work

    def end(self, tab: str, work: Work) -> None:
        """A question has been answered."""
        with self._lock:
            if self._works.get(tab) is work:
                del self._works[tab]

    def stop_all(self) -> None:
        """End every question."""
        with self._lock:
            for work in self._works.values():
                work.stop()


class Handler(BaseHTTPRequestHandler):
    """Requests, each checked before anything is done."""

    server: Server
    server_version = "dslgen"
    sys_version = ""
    timeout = 20

    def do_GET(self) -> None:
        """One of the files."""
        try:
            self._check_host()
            kind, text = self._file()
        except Refused as refused:
            self._refuse(refused)
            return
        self._send(HTTPStatus.OK, f"{kind}; charset=utf-8", text.encode())

    def do_HEAD(self) -> None:
        """What GET would say of itself."""
        self.do_GET()

    def do_POST(self) -> None:
        """The answers to a question."""
        try:
            self._check_host()
            self._check_sender()
            if self.path != "/answers":
                raise Refused(HTTPStatus.NOT_FOUND, "no such page")
            given = self._body()
            question, tab = _question(given, self.server.specs)
            work = self.server.begin(tab, question)
        except Refused as refused:
            self._refuse(refused)
            return
        try:
            self._stream(work)
        except OSError:  # the reader has gone
            pass
        finally:
            self.server.end(tab, work)

    def _stream(self, work: Work) -> None:
        self._head(HTTPStatus.OK, "application/x-ndjson")
        running = work.run()
        try:
            for answer in running:
                line = "" if answer is None else json.dumps(asdict(answer))
                self.wfile.write(f"{line}\n".encode())
                self.wfile.flush()
        finally:
            running.close()

    def _check_host(self) -> None:
        if self.headers.get("Host") not in self.server.hosts:
            raise Refused(HTTPStatus.FORBIDDEN, "another host is meant")

    def _check_sender(self) -> None:
        """That a page of this server asks, and one that was opened by who started it."""
        if self.headers.get("Origin") not in [f"http://{host}" for host in self.server.hosts]:
            raise Refused(HTTPStatus.FORBIDDEN, "another page asks")
        if self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            raise Refused(HTTPStatus.FORBIDDEN, "another page asks")
        if not hmac.compare_digest(self.headers.get("X-Token", "").encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, "the address lacks its token: open the one that was printed")
        if self.headers.get("Content-Type") != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "JSON is expected")

    def _file(self) -> tuple[str, str]:
        try:
            return self.server.files[self.path]
        except KeyError:
            raise Refused(HTTPStatus.NOT_FOUND, "no such page") from None

    def _body(self) -> Any:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too much text")
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise Refused(HTTPStatus.BAD_REQUEST, "no JSON") from None

    def _refuse(self, refused: Refused) -> None:
        self._send(refused.status, "text/plain; charset=utf-8", f"{refused}\n".encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self._head(status, kind, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Connection": "close"}.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what is typed is nobody's business."""


def _question(given: Any, specs: tuple[str, ...]) -> tuple[Question, str]:
    """What a page asks, checked; raises `Refused`."""
    fields = given if isinstance(given, Mapping) else {}
    text, tab = fields.get("text"), fields.get("tab")
    low, high = (_number(fields.get(name)) for name in ("low", "high"))
    if not isinstance(text, str) or not isinstance(tab, str) or len(tab) > 40:
        raise Refused(HTTPStatus.BAD_REQUEST, "text, tab, low and high are expected")
    if len(text) > MAX_TEXT:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_TEXT:,} characters are looked at")
    if not -1e30 < low < high < 1e30:
        raise Refused(HTTPStatus.BAD_REQUEST, "x goes from a number to a greater one")
    return Question(text, low, high, specs), tab


def _number(given: Any) -> float:
    return float(given) if isinstance(given, int | float) and not isinstance(given, bool) else math.nan


# The page

BESIDE = {"worst": "Greatest errors", "cost": "Instructions"}
"""Answers that stand with the formula, and their headings."""
BELOW = {"curve": "Curve", "source": "Source", "stability": "From formula to kernel"}
START = "x * tanh(log(1 + exp(x)))"


def page(examples: Mapping[str, str]) -> str:
    """The playground's page, with definitions to begin from, by their names."""
    choices = "".join(
        f'<option value="{escape(text)}">{escape(name)}</option>' for name, text in examples.items()
    )
    beside, below = ("".join(starmap(_part, titles.items())) for titles in (BESIDE, BELOW))
    body = f"""<header class="banner"><nav aria-label="Site"><a href="/">dslgen</a> playground</nav></header>
<main id="main" class="playground">
<form id="editor" autocomplete="off">
<h1><label for="text">Formula</label></h1>
<p id="hint" class="note">A function of x, such as <code>{escape(START)}</code>, or a definition with
parameters: <code>f(x; beta = 1) = x * sigmoid(beta * x)</code>.</p>
<div class="field"><pre id="mirror" aria-hidden="true"></pre>
<textarea id="text" rows="3" spellcheck="false" autocapitalize="off" maxlength="{MAX_TEXT}"
 aria-describedby="hint problems">{escape(START)}</textarea></div>
<div id="problems" role="alert"></div>
<div class="row"><label>Begin from <select id="examples"><option value="">…</option>{choices}</select></label>
<span class="range">x from <input id="low" type="number" step="any" value="-10" aria-label="x from">
to <input id="high" type="number" step="any" value="10" aria-label="x to"></span>
<output id="status" role="status"></output></div>
<div id="formula" class="answer"></div>
{beside}
</form>
{below}
</main>"""
    return html.page("Playground", body, ["/style.css"], ["/playground.js"])


def _part(name: str, title: str) -> str:
    return (
        f'<section id="{name}-part" class="part" aria-labelledby="{name}-title" hidden>'
        f'<h2 id="{name}-title">{title}</h2><div id="{name}" class="answer"></div></section>'
    )


def run(specs: Sequence[Path], port: int, ready: Callable[[str], object]) -> None:
    """Serve the playground until it is interrupted; `ready` is told its address.

    What is compiled is kept in a folder that goes with it. Raises OSError where the port is taken.
    """
    with TemporaryDirectory(prefix="dslgen-playground-", ignore_cleanup_errors=True) as folder:
        os.environ |= {VARIABLE: folder, "TRITON_CACHE_DIR": str(Path(folder) / "triton")}
        with Server(port, specs) as server:
            prepare()
            ready(server.url)
            try:
                server.serve_forever(poll_interval=0.2)
            finally:
                server.stop_all()
