"""A project to start from: `dslgen init`.

In: a directory, new or with a project in it. Out: `Plan`, the files that it lacks, and those that it has.
Nothing that is there changes, but for a pyproject.toml without `[tool.dslgen]`, which gets that table at its
end.
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from dsl.build import generated_files
from dsl.config import Config, ConfigError, load
from dsl.files import write_atomic

OUT = "kernels"
"""The generated package's directory where nothing says otherwise."""
SPEC = '''\
# A definition is a line of mathematics. `dslgen explain log_cosh` tells what a build makes of it.
"""Log-cosh: x**2 / 2 near zero, abs(x) - log(2) far from it."""
log_cosh(x) = log(cosh(x))
'''
TABLE = """\
[tool.dslgen]
specs = ["specs"]
out = {out}
"""
HOOKS = """\
repos:
  - repo: local
    hooks:
      - id: dslgen-fmt
        name: dslgen fmt
        entry: dslgen fmt
        language: system
        files: \\.act$
      - id: dslgen-build
        name: dslgen build --check
        entry: dslgen build --check
        language: system
        pass_filenames: false
        files: (\\.act|\\.py|pyproject\\.toml)$
"""
UP_TO_DATE = '''\
"""The generated package is what the specs say. This file is yours: dslgen never writes it again."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_package_is_up_to_date():
    command = [sys.executable, "-m", "dsl", "build", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
'''
IMPORTS = """\
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT{parent}))
from {package} import log_cosh  # noqa: E402
"""
FIRST = """

def test_the_value_is_the_formulas():
    x = torch.linspace(-8, 8, 101, dtype=torch.float64)
    torch.testing.assert_close(log_cosh(x), torch.log(torch.cosh(x)))


def test_the_value_far_out_where_the_formula_overflows():
    x = torch.tensor([1000.0, float("inf")])
    assert log_cosh(x).tolist() == [999.3068237304688, float("inf")]


def test_the_derivatives():
    x = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log_cosh, x)
    assert torch.autograd.gradgradcheck(log_cosh, x)
"""


class ScaffoldError(Exception):
    """The project cannot be started here; nothing was written."""


@dataclass(frozen=True)
class Plan:
    """What `init` would do: texts to write by path, and the paths that stay as they are."""

    texts: dict[Path, str]
    kept: tuple[Path, ...]

    def apply(self) -> None:
        """Write the files."""
        for path, text in self.texts.items():
            write_atomic(path.resolve(), text)  # A link stays one.


def plan(directory: Path, out: str | None = None) -> Plan:
    """What a directory lacks of a project; `out` is where the package will be, if no configuration says.

    Raises `ScaffoldError` where something stands in the way, `ConfigError` for a pyproject.toml that cannot
    be read.
    """
    if directory.exists() and not directory.is_dir():
        raise ScaffoldError(f"{directory} is not a directory")
    configuration = directory / "pyproject.toml"
    texts: dict[Path, str] = {}
    if os.path.lexists(configuration):
        before = _read(configuration)
        config = load(directory)
        if "dslgen" not in tomllib.loads(before).get("tool", {}):
            config = _config(directory, out or OUT)
            texts[configuration] = _with_table(configuration, before, out or OUT)
        elif out is not None:
            raise ScaffoldError(
                f"{configuration} has a [tool.dslgen] already, which says where the package is"
            )
    else:
        config = _config(directory, out or OUT)
        texts[configuration] = _table(out or OUT)
    package = directory / config.out
    if package.exists() and not (
        package.is_dir() and (generated_files(package) or not any(package.iterdir()))
    ):
        raise ScaffoldError(f"{package} is not empty: name another place for the package by --out")
    wanted = {directory / ".pre-commit-config.yaml": HOOKS}
    specs = [directory / spec for spec in config.specs]
    first = not any(spec.suffix == ".act" or any(spec.rglob("*.act")) for spec in specs)
    if first:
        wanted[specs[0] / "log_cosh.act"] = SPEC
    wanted[directory / "tests/test_activations.py"] = _test(config, first)
    kept = [] if configuration in texts else [configuration]
    for path, text in wanted.items():
        if os.path.lexists(path):
            kept.append(path)
        else:
            texts[path] = text
        if _is_blocked(path):
            raise ScaffoldError(f"{path.parent} is not a directory")
    return Plan(texts, tuple(kept))


def _config(directory: Path, out: str) -> Config:
    given = Path(out)
    if given.is_absolute() or ".." in given.parts or not given.name.isidentifier():
        raise ScaffoldError(
            f"{out!r} is no place for a package: give a path below {directory}, as 'src/kernels'"
        )
    return Config((Path("specs"),), given)


def _read(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8")
        tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return text


def _table(out: str) -> str:
    return TABLE.format(out=json.dumps(Path(out).as_posix()))


def _with_table(path: Path, before: str, out: str) -> str:
    """A configuration with the table at its end, in its own line ends, and otherwise as it was."""
    end = "\r\n" if "\r\n" in before else "\n"
    gap = "" if not before.strip() else end if before.endswith("\n") else end * 2
    after = before + gap + _table(out).replace("\n", end)
    try:
        tomllib.loads(after)
    except tomllib.TOMLDecodeError:
        raise ScaffoldError(f"{path}: no table can be added at its end; add to it:\n{_table(out)}") from None
    return after


def _test(config: Config, first: bool) -> str:
    """The test of a project; of the first spec, too, if that is written along with it."""
    if not first:
        return UP_TO_DATE
    parent = "".join(f" / {json.dumps(part)}" for part in config.out.parent.parts)
    imports = IMPORTS.format(parent=parent, package=config.out.name)
    plain = "from pathlib import Path\n\nROOT = Path(__file__).parent.parent\n"
    return UP_TO_DATE.replace(plain, imports) + FIRST


def _is_blocked(path: Path) -> bool:
    return any(parent.exists() and not parent.is_dir() for parent in path.parents)
