"""What a notebook shows of a module that `dsl.compile` made: its formula, its picture, its certificate.

In: an activation, values of its parameters. Out: `Picture`s, `Certificate`s, and the HTML of both. A picture
is drawn when it is asked for; a certificate is measured once, by `dslgen certify` in a process of its own,
and kept in the cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from pathlib import Path

from dsl import cache
from dsl.activation import Activation, with_defaults
from dsl.build import module_output
from dsl.certificate import Certificate, ToolsMissing, read_lock
from dsl.files import write_atomic
from dsl.show import show_activation

SAMPLES = 20_000
"""Inputs to try in float32 and float64."""
LOCK = "certificates.json"
TABLE = '[tool.dslgen]\nspecs = ["."]\n'
"""What keeps a project that the cache may lie in out of this."""
ONE_INPUT = "Not certified: from here errors are measured for elementwise functions of one input."
NO_CERTIFICATE = "Not certified: <code>.certificate</code> measures, which takes about a quarter of a minute."


@dataclass(frozen=True)
class Picture:
    """An activation, its derivatives and its errors, drawn: the bytes of an SVG and of a PNG."""

    svg: bytes
    png: bytes

    def save(self, path: str | Path) -> None:
        """Write the picture to a .svg or .png file; raises ValueError for another."""
        kinds = {".svg": self.svg, ".png": self.png}
        if Path(path).suffix not in kinds:
            raise ValueError(f"{path}: a picture's name ends in {' or '.join(kinds)}")
        write_atomic(Path(path), kinds[Path(path).suffix])

    def _repr_svg_(self) -> str:
        return self.svg.decode()

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return f"Picture({len(self.svg):,} bytes of SVG, {len(self.png):,} of PNG)"


def picture(activation: Activation, low: float, high: float, dtype: str) -> Picture:
    """An activation's picture, parameters at their defaults, for low <= x <= high.

    Raises `ToolsMissing` without matplotlib and numpy, `dsl.curves.CurveError` for a parameter
    without a default.
    """
    _need("matplotlib", "plot")
    from dsl.plot import pictures

    return Picture(*pictures(activation, low, high, dtype, ("svg", "png")))


def known(activation: Activation) -> Certificate | None:
    """The certificate that was measured before, if one was."""
    return read_lock(_place(activation) / LOCK).get(activation.name)


def certify(activation: Activation) -> Certificate:
    """The certificate, measured unless it was before.

    Raises `ToolsMissing` without what measuring needs or where it fails, ValueError for several inputs.
    """
    found = known(activation)
    if found is not None:
        return found
    if not activation.unary:
        raise ValueError(f"'{activation.name}': {ONE_INPUT}")
    _need("numpy", "certify")
    folder = _place(activation)
    write_atomic(folder / "pyproject.toml", TABLE)
    write_atomic(folder / f"{activation.name}.act", f"{show_activation(activation)}\n")
    here = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path])}
    command = [sys.executable, "-m", "dsl", "certify", "--samples", str(SAMPLES)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    found = known(activation)
    if found is None:  # With errors beyond their bounds the command fails, and there is a certificate.
        raise ToolsMissing(f"{activation.name} could not be certified: {done.stderr.strip()}")
    return found


def as_html(activation: Activation, values: Mapping[str, float]) -> str:
    """The formula, the picture at these values, and the certificate, as far as they can be had at once."""
    from dsl.curves import CurveError

    parts = [f"<pre>{escape(show_activation(activation))}</pre>"]
    try:
        drawn = b64encode(picture(with_defaults(activation, values), -10, 10, "float32").svg).decode()
        alt = escape(f"{activation.name}, its derivatives, and their errors")
        parts.append(f'<img alt="{alt}" style="max-width: 100%" src="data:image/svg+xml;base64,{drawn}">')
    except (CurveError, ToolsMissing) as reason:
        parts.append(f"<p>{escape(str(reason))}</p>")
    found = known(activation) if activation.unary else None
    if found is not None:
        parts.append(found._repr_html_())
    else:
        parts.append(f"<p>{NO_CERTIFICATE if activation.unary else ONE_INPUT}</p>")
    return "\n".join(parts)


def _place(activation: Activation) -> Path:
    """Where the certificate of just this activation, made by just this compiler, is kept."""
    return cache.folder() / "certificates" / module_output(activation).inputs[:16]


def _need(module: str, extra: str) -> None:
    if find_spec(module) is None:
        raise ToolsMissing(f"this needs {module}, which is not installed: pip install 'dslgen[{extra}]'")
