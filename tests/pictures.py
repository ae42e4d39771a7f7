"""The pictures of docs/web.md, taken in a browser, and of the tutorial: `python -m tests.pictures`.

They are of this repository's own gallery and playground, as they are: run it when those look different.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.browser import Page, browser, program

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
DSLGEN = [sys.executable, "-m", "dsl"]
SIZE = (1180, 760)
SMOOTH = "smooth(x; beta = 1.0) = log(1 + exp(beta * x)) / beta\n"
"""The tutorial's, mended."""
FORMULA = "x * tanh(log(1 + exp(x)))"


def gallery(page: Page, site: Path) -> None:
    """The index in light colours, a function in dark ones."""
    page.look(*SIZE)
    page.open((site / "index.html").as_uri())
    page.picture(DOCS / "gallery.png")
    page.look(SIZE[0], 1180, dark=True)
    page.open((site / "functions/mish.html").as_uri())
    page.picture(DOCS / "gallery-function.png")


def playground(page: Page) -> None:
    """A formula, and all that is told of it."""
    process = subprocess.Popen([*DSLGEN, "playground"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        page.look(SIZE[0], 1100)
        page.open(process.stdout.readline().strip())
        page.run("document.querySelector('#text').focus(), document.querySelector('#text').select()")
        page.type(FORMULA)
        page.until("!document.querySelector('#formula.stale')")
        page.until("document.querySelector('#status').textContent.startsWith('Done')")
        page.run("document.activeElement.blur()")
        page.picture(DOCS / "playground.png")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def main() -> None:
    """Take them all."""
    path = program()
    if path is None:
        sys.exit("no Chromium: install it, or name it in DSLGEN_BROWSER")
    os.chdir(ROOT)
    with TemporaryDirectory() as folder, browser(path) as page:
        site = Path(folder, "site")
        subprocess.run([*DSLGEN, "gallery", "-o", str(site)], check=True)
        gallery(page, site)
        spec = Path(folder, "smooth.act")
        spec.write_text(SMOOTH, encoding="utf-8")
        subprocess.run(
            [*DSLGEN, "plot", str(spec), "-o", "docs/smooth.png", "--range", "-30", "10"], check=True
        )
        playground(page)


if __name__ == "__main__":
    main()
