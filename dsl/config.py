"""Where a project's specs and its generated package are: `[tool.dslgen]` in the nearest pyproject.toml.

In: a directory. Out: `Config`, or `ConfigError` with what is wrong with the file.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_KEYS = ("specs", "out", "lock", "frameworks")


class ConfigError(Exception):
    """The configuration cannot be used; the message says where and why."""


@dataclass(frozen=True)
class Config:
    """Where specs are read from, the directory of the generated package, the file of its certificates, and
    that of what other frameworks call its activations.
    """

    specs: tuple[Path, ...]
    out: Path
    lock: Path = Path("certificates.json")
    frameworks: Path | None = None

    @property
    def memory(self) -> Path:
        """The file of what the stabiliser found, beside the certificates."""
        return self.lock.with_name("stabilised.json")


def load(start: Path) -> Config:
    """The configuration that holds in a directory: the nearest pyproject.toml's, otherwise the defaults."""
    for directory in (start, *start.parents):
        file = directory / "pyproject.toml"
        if file.is_file():
            return _from_file(file, start)
    return Config((Path("specs"),), Path("generated"))


def _from_file(file: Path, start: Path) -> Config:
    root = file.parent
    try:
        tool: Any = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{_display(file, start)}: {error}") from None
    table = tool.get("dslgen", {}) if isinstance(tool, dict) else None
    if not isinstance(table, dict):
        raise ConfigError(f"{_display(file, start)}: [tool.dslgen] is not a table")
    unknown = sorted(set(table) - set(_KEYS))
    if unknown:
        raise ConfigError(
            f"{_display(file, start)}: [tool.dslgen] has no key '{unknown[0]}' (it has: {', '.join(_KEYS)})"
        )
    specs = table.get("specs", ["specs"])
    if not (isinstance(specs, list) and specs and all(isinstance(spec, str) for spec in specs)):
        raise ConfigError(f"{_display(file, start)}: 'specs' in [tool.dslgen] is a list of paths")
    places = {"out": "generated", "lock": "certificates.json"} | {
        key: table[key] for key in ("out", "lock", "frameworks") if key in table
    }
    for key, place in places.items():
        if not (isinstance(place, str) and place):
            raise ConfigError(f"{_display(file, start)}: '{key}' in [tool.dslgen] is a path")
    shown = {key: _display(root / place, start) for key, place in places.items()}
    return Config(tuple(_display(root / spec, start) for spec in specs), **shown)


def _display(path: Path, start: Path) -> Path:
    """A path as messages show it: relative to where the command runs, if it lies below."""
    return path.relative_to(start) if path.is_relative_to(start) else path
