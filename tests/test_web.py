"""Pages: the gallery as files, the playground as a server, and both in a browser."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from dsl.build import BuildError
from dsl.cli import run as _run
from dsl.parse import parse_statements
from dsl.resolve import activations, resolve_all
from dsl.resolve_model import resolve_models
from dsl.web import function, model, worker
from dsl.web.answers import Question, answers, definitions, read
from dsl.web.function import FEATURES
from dsl.web.gallery import MARK, read_counts, write
from dsl.web.serve import Handler, Server
from dsl.web.worker import Work
from tests.browser import Page, browser, program

ROOT = Path(__file__).parent.parent
SPECS = '''"""Scaled <silu> (Someone, 2020, arXiv:2001.00001)."""
scaled(x; beta = 1.5) = x / (1 + exp(-beta * x))
  alias scaled_swish

"""A gate."""
gated(x, gate) = x * relu(gate)

bare(x; a) = a * x
'''
COUNTS = """{"triton": "3.7.1", "kernels": {
  "sm_90/float32/scaled/value": {"elements": 8, "instructions": 37.125, "special": 2.0, "registers": 32,
    "spills": 0, "branches": 0, "loads": [128, 128], "stores": [128, 128]}}}"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "specs").mkdir()
    (folder / "specs/some_units.act").write_text(SPECS, encoding="utf-8")
    (folder / "counts.json").write_text(COUNTS, encoding="utf-8")
    return folder


def dslgen(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "dsl", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def site(project: Path) -> Path:
    """The gallery of a project of three functions."""
    command = dslgen(project, "gallery", "-o", "site", "--counts", "counts.json", "--jobs", "1")
    done = subprocess.run(
        command, cwd=project, env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "wrote site/index.html, with 3 definitions\n"
    return project / "site"


class Links(HTMLParser):
    """What a page refers to, its identifiers, and whether its elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.links += [value for key in ("href", "src") if (value := given.get(key))]
        self.names += [value for key, value in attributes if key == "id" and value]
        assert not any(key.startswith("on") or key == "style" for key in given)
        if tag not in ("meta", "link", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag == "path"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_gallery_holds_together(site: Path) -> None:
    files = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    functions = {f"functions/{name}.html" for name in ("scaled", "gated", "bare")}
    assert files == {"index.html", "style.css", "gallery.js", MARK} | functions
    for page in site.rglob("*.html"):
        found = Links(page.read_text(encoding="utf-8"))
        assert len(set(found.names)) == len(found.names)
        for link in found.links:
            if not link.startswith(("#", "data:,", "https://arxiv.org/abs/")):
                assert (page.parent / link).is_file(), link
            assert not link.startswith("#") or link[1:] in found.names
    scaled = (site / "functions/scaled.html").read_text(encoding="utf-8")
    assert "Scaled &lt;silu&gt;" in scaled
    for said in ("37.1", "scaled_swish", "<math", "class Scaled", "arXiv:2001.00001</a>", "beta = 1.5"):
        assert said in re.sub(r"</?span[^>]*>", "", scaled)
    assert scaled.count('class="plot"') == 6
    assert (site / "functions/gated.html").read_text(encoding="utf-8").count('class="plot"') == 1
    assert "parameter without a default" in (site / "functions/bare.html").read_text(encoding="utf-8")


def test_a_function_that_cannot_be_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a <new> kind")

    monkeypatch.setattr(function, "figures", fail)
    monkeypatch.setattr(function, "whole", fail)
    (odd,) = activations("odd(x) = x**3")
    made = function.entry(odd, None, {}, "generated", {"jax": ("odd_one",)})
    assert made.warnings == (
        "odd: no plot (RuntimeError: a <new> kind)",
        "odd: no derivation (RuntimeError: a <new> kind)",
    )
    assert "a &lt;new&gt; kind" in made.page
    assert "odd_one" in made.search
    Links(made.page)


MODEL = """'A linear layer (arXiv:2001.00001), then relu.'
model block(n, bias = True) = linear(n, n, bias) -> relu
"""


def test_a_model_has_a_page() -> None:
    parsed = parse_statements(MODEL + "relu(x) = max(x, 0)\n", "some_models.act")
    found, _ = resolve_all(parsed.definitions)
    (made,), wrong = resolve_models(parsed.models, parsed.definitions, found, frozenset())
    assert not wrong
    shown = model.entry(made, "generated")
    assert (shown.family, shown.tags, shown.warnings) == ("some models", (model.TAG,), ())
    page = Links(shown.page)
    assert "relu.html" in page.links
    plain = re.sub(r"</?span[^>]*>", "", shown.page)
    for said in ("model = Block(n=...)", "one read, one write", "nn.Linear(n, n, bias=bias)", "class Block"):
        assert said in plain, said
    assert all(tag in FEATURES for tag in shown.tags)


@pytest.mark.parametrize(
    ("spec", "used"),
    [
        ("f(x) = x", ["y = f(x)", "layer = F()"]),
        ("f(x; a) = a * x", ["y = f(x, a=...)", "layer = F(a=...)"]),
        ("f(x; learn w[channel] = 1, k = 2) = k * w * x", ["y = f(x, w)", "layer = F()", "# w"]),
        ("f(x, y) = x * y\n  packed halves", ["y = f(x, y)", "y = layer(packed)  # or layer(x, y)"]),
        ("f(x) = (x, -x)", ["y1, y2 = f(x)"]),
        ("f(x) = (x, -x)\n  concat halves", ["y = f(x)"]),
        ("f(x) = x + z\n  with z = normal(0, 1) in training, 0 in eval", ["y = f(x, training=True)"]),
    ],
)
def test_how_to_use_it_is_how_it_is_used(spec: str, used: list[str]) -> None:
    (each,) = activations(spec)
    shown = re.sub(r"</?span[^>]*>", "", function._use(each, "generated"))
    for line in used:
        assert line in shown, shown


def test_a_folder_is_ours_or_refused(tmp_path: Path) -> None:
    out = tmp_path / "site"
    write({"index.html": "one", "functions/a.html": "a"}, out)
    write({"index.html": "two"}, out)
    assert sorted(path.name for path in out.rglob("*")) == [MARK, "index.html"]
    (out / "mine.txt").write_text("mine")
    with pytest.raises(BuildError, match=r"mine\.txt, which dslgen gallery did not make"):
        write({"index.html": "three"}, out)
    assert (out / "index.html").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
    (tmp_path / "counts.json").write_text("[]")
    with pytest.raises(BuildError, match="no instruction counts"):
        read_counts(tmp_path / "counts.json")


def test_an_interrupted_gallery_leaves_nothing(project: Path) -> None:
    command = dslgen(project, "gallery", "-o", "never")
    process = subprocess.Popen(
        command, cwd=project, env=environment(), stderr=subprocess.PIPE, start_new_session=True
    )
    time.sleep(1.5)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in said
    assert not [path for path in project.iterdir() if "never" in path.name]


@pytest.mark.parametrize(
    ("arguments", "begins", "holds"),
    [
        (["explain", "scaled", "--format", "latex"], "\\documentclass", "\\operatorname{scaled}"),
        (["explain", "specs/some_units.act", "--format", "html"], "<!doctype html>", "<math"),
        (["show", "scaled", "--after", "derive", "--format", "latex"], "\\begin{align*}", "^{\\prime}(x)"),
        (["show", "scaled", "--after", "target", "--format", "latex"], "{\\scriptsize", "import triton"),
        (["show", "gated", "--after", "schedule", "--format", "html"], "<!doctype html>", "∂"),
    ],
)
def test_other_forms(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    begins: str,
    holds: str,
) -> None:
    monkeypatch.chdir(project)
    assert _run(arguments) == 0
    said, errors = capsys.readouterr()
    assert said.startswith(begins)
    assert holds in said
    assert errors == ""
    if begins.startswith("<"):
        assert not [link for link in Links(said).links if not link.startswith(("data:,", "https://arxiv"))]


# The playground, without a browser


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[Server]:
    with Server(0, [project / "specs"]) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        yield made
        made.stop_all()
        made.shutdown()
        thread.join()


def ask(server: Server, method: str, path: str, body: object = None, **changed: str | None) -> Any:
    """A request as the page makes it, but for some headers; None leaves one out."""
    host = server.hosts[0]
    text = body if isinstance(body, str) else json.dumps(body)
    headers = {
        "Host": host,
        "Origin": f"http://{host}",
        "X-Token": server.token,
        "Content-Type": "application/json",
        "Content-Length": str(len(text.encode())) if method == "POST" else None,
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(text.encode() if method == "POST" else None)
    return connection.getresponse()


GOOD = {"text": "x * y", "tab": "a", "low": -1, "high": 1}


@pytest.mark.parametrize(
    ("changed", "body", "status"),
    [
        ({"Host": "evil.example"}, GOOD, 403),  # a name that an attacker made point here
        ({"Host": None}, GOOD, 403),
        ({"Origin": "http://evil.example"}, GOOD, 403),
        ({"Origin": "null"}, GOOD, 403),
        ({"Origin": None}, GOOD, 403),
        ({"X_Token": "guess"}, GOOD, 403),
        ({"X_Token": None}, GOOD, 403),
        ({"Sec_Fetch_Site": "cross-site"}, GOOD, 403),
        ({"Content_Type": "text/plain"}, GOOD, 415),  # what a form can send without asking
        ({"Content_Length": "99999999"}, GOOD, 413),
        ({"Content_Length": None}, "", 413),
        ({}, {**GOOD, "text": "x" * 5000}, 413),
        ({}, {**GOOD, "low": 2}, 400),
        ({}, {**GOOD, "high": "1"}, 400),
        ({}, {**GOOD, "tab": 1}, 400),
        ({}, ["x"], 400),
        ({}, "{", 400),
        ({}, "[" * 9999, 400),
    ],
)
def test_nobody_else_drives_it(
    server: Server, changed: dict[str, str | None], body: object, status: int
) -> None:
    answered = ask(server, "POST", "/answers", body, **changed)
    assert answered.status == status
    assert not server._works


def test_get_gives_three_files(server: Server) -> None:
    for path, status in (
        ("/", 200),
        ("/style.css", 200),
        ("/playground.js", 200),
        ("/../build.py", 404),
        ("/answers", 404),
    ):
        answered = ask(server, "GET", path)
        assert answered.status == status
        text = answered.read().decode()
        assert server.token not in text
        assert "script-src 'self'" in answered.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in answered.headers["Content-Security-Policy"]
        assert answered.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in answered.headers
    assert ask(server, "HEAD", "/").read() == b""
    for method in ("PUT", "DELETE", "OPTIONS"):
        assert ask(server, method, "/answers").status == 501
    assert ask(server, "GET", "/", Host="evil.example").status == 403
    assert {name for name in dir(Handler) if name.startswith("do_")} == {"do_GET", "do_HEAD", "do_POST"}
    assert set(Links(ask(server, "GET", "/").read().decode()).links) == {"data:,", *server.files}


def test_an_error_comes_with_its_place(server: Server) -> None:
    (line,) = filter(None, ask(server, "POST", "/answers", GOOD).read().split(b"\n"))
    (error,) = json.loads(line)["errors"]
    assert (error["code"], error["line"], error["column"], error["end_column"]) == ("E0106", 1, 5, 6)
    assert "  x * y\n      ^" in error["shown"]
    with pytest.raises(Exception, match="E0101") as caught:
        read("softplu(x)")
    (found,) = caught.value.errors  # type: ignore[attr-defined]
    assert (found.fix.span.line, found.fix.span.column, found.fix.text) == (1, 1, "softplus")


def test_a_project_may_be_called(project: Path) -> None:
    specs = [project / "specs"]
    assert list(definitions(specs)) == ["bare", "gated", "scaled"]
    assert definitions(specs)["gated"] == "gated(x, gate) = x * relu(gate)"
    assert read("1 + scaled(x)", specs).name == "f"
    assert read("scaled(x) = x", specs).formula == "x"  # what is typed comes first


def test_a_project_may_hold_files_without_definitions(tmp_path: Path) -> None:
    """The page is made of them when it starts."""
    (tmp_path / "a.act").write_text("# nothing yet\n", encoding="utf-8")
    (tmp_path / "b.act").write_text(f"{MODEL}\nf(x) = x # as it is\n", encoding="utf-8")
    (tmp_path / "c.act").write_text("g(x) = (x\n", encoding="utf-8")
    (tmp_path / "d.act").write_bytes(b"\xff")
    assert definitions([tmp_path]) == {"f": "f(x) = x", "g": "g(x) = (x"}


def all_ended(before: list[BaseProcess]) -> bool:
    """Whether no process is left but those of before, of which a killed one may be seen for a moment."""
    end = time.monotonic() + 10
    while set(active_children()) - set(before) and time.monotonic() < end:
        time.sleep(0.05)
    return not set(active_children()) - set(before)


def test_a_question_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    before = active_children()
    question = Question("x * tanh(softplus(x))", -1, 1)
    with monkeypatch.context() as patch:
        patch.setattr(worker, "STARTING", 0)
        patch.setattr(worker, "LIMITS", {"formula": 0.05})
        (last,) = filter(None, Work(question).run())
    assert last.html == "Stopped: the formula took more than 0.05 seconds."
    assert all_ended(before)
    work = Work(question)
    work.stop()
    assert list(work.run()) == []
    assert all_ended(before)


@pytest.mark.skipif(sys.platform != "linux", reason="no other system limits a process's memory")
def test_memory_has_an_end() -> None:
    question = Question("x * tanh(x)", -1, 1)
    *_, last = filter(None, Work(question, memory=1 << 20).run())
    assert last.part == "stopped"  # by whatever failed first
    unlimited = Work(question).run()
    assert next(filter(None, unlimited)).part == "formula"
    unlimited.close()


def test_answers_of_several_inputs() -> None:
    found = {each.part: each.html for each in answers(Question("g(x, gate) = x * sigmoid(gate)", -1, 1))}
    assert list(found) == ["formula", "curve", "source", "stability", "cost"]
    assert "gate = −2" in found["curve"] or "gate = -2" in found["curve"]
    assert found["cost"].count("<tr>") == 5


# In a browser


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    path = program()
    if path is None:
        warnings.warn(
            "pages were not tried in a browser: install Chromium, or name it in DSLGEN_BROWSER", stacklevel=1
        )
        pytest.skip("no Chromium")
    with browser(path) as made:
        yield made


def test_the_gallery_in_a_browser(site: Path, page: Page) -> None:
    page.open((site / "index.html").as_uri())
    shown = "[...document.querySelectorAll('.card h3 a')].filter(a => a.offsetParent).map(a => a.textContent)"
    assert page.run(shown) == ["scaled", "gated", "bare"]
    page.press("/")
    page.type("someone 2020")
    page.until("document.querySelector('#count').textContent === '1 of 3 definitions'")
    assert page.run(shown) == ["scaled"]
    page.run("document.querySelector('#clear').click()")
    page.until("document.querySelector('#count').textContent === '3 definitions'")
    assert page.run("document.querySelector('#q').value") == ""
    page.run("document.querySelector('[value=\"several inputs\"]').click()")
    assert page.run(shown) == ["gated"]
    page.run("[...document.querySelectorAll('.card a')].find(a => a.offsetParent).click()")
    page.until("document.querySelector('h1')?.textContent === 'gated'")
    page.run("document.querySelector('a[rel=prev]').click()")
    page.until("document.querySelector('h1')?.textContent === 'scaled'")
    for width in (360, 1300):
        page.look(width, 900, dark=width == 360)
        page.fits(width)
    assert page.run("document.querySelector('math').getBoundingClientRect().height") > 15
    assert page.complaints == []
    assert all(each.startswith("file:") or each == "data:," for each in page.requests)


def test_the_playground_in_a_browser(project: Path, page: Page) -> None:
    process = subprocess.Popen(
        dslgen(project, "playground"), cwd=project, env=environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        page.requests.clear()
        url = process.stdout.readline().strip()
        page.open(url)
        assert page.run("location.href") == url.partition("#")[0]  # the token has left the address
        for part in ("formula math", "curve svg.plot", "source pre", "worst table", "cost table"):
            page.until(f"document.querySelector('#{part}')")
        page.until("document.querySelector('#status').textContent.startsWith('Done')")
        page.run("document.querySelector('#text').focus(), document.querySelector('#text').select()")
        page.type("1 + scaled(softplu(x))")
        page.until("document.querySelector('.problem')")
        assert page.run("document.querySelector('#mirror .wrong').textContent") == "softplu"
        assert "^^^^^^^" in page.run("document.querySelector('.problem pre').textContent")
        page.run("document.querySelector('.problem button').click()")
        page.until("!document.querySelector('.problem') && !document.querySelector('#formula.stale')")
        assert page.run("document.querySelector('#text').value") == "1 + scaled(softplus(x))"
        page.until("document.querySelector('#source').textContent.includes('def _f_grad')")
        page.look(360, 800)
        page.fits(360)
        assert page.complaints == []
        assert all(each.startswith((url.partition("#")[0], "data:")) for each in page.requests)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
