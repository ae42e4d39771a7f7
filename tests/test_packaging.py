"""The distribution: built from its own source archive, installed where no repository is, and used there.

First beside nothing but what it requires, then beside what this environment has, torch and triton among it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PACKAGES = Path(sysconfig.get_path("purelib"))


def run(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """What a command prints, in an environment that knows nothing of the repository."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def required(names: list[str]) -> Iterator[Path]:
    """The files and folders of distributions and of all that they require."""
    seen: set[str] = set()
    while names:
        name = names.pop()
        if name in seen:
            continue
        seen.add(name)
        found = distribution(name)
        tops = {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}
        yield from (Path(str(found.locate_file(top))) for top in tops)
        wanted = map(Requirement, found.requires or ())
        names += [each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source archive alone."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    source = folder / archive.name.removesuffix(".tar.gz")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=source)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """An environment with the wheel and what it requires, and nothing else."""
    folder = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        folder / "bin/python",
        "--disable-pip-version-check",
    ]
    run(*pip, "install", "-q", "--no-index", "--no-deps", wheel, cwd=folder)
    (core := folder / "core").mkdir()
    metadata = next(folder.glob("lib/*/site-packages/dslgen-*.dist-info/METADATA"))
    lines = metadata.read_text(encoding="utf-8").splitlines()
    needs = [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]
    names = [Requirement(line).name for line in needs if "extra ==" not in line]
    for path in required(names):
        (core / path.name).symlink_to(path)
    (metadata.parents[1] / "core.pth").write_text(f"{core}\n", encoding="utf-8")
    return folder


def test_what_the_wheel_holds(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    own = {f"dsl/{path.relative_to(ROOT / 'dsl').as_posix()}" for path in (ROOT / "dsl").rglob("*.py")}
    assert own <= names
    assert {"dsl/py.typed", "dsl/support/py.typed", "dsl/_grammars/act.lark"} <= names
    assert {name.partition("/")[0] for name in names} == {
        "dsl",
        wheel.name.partition("-py3")[0] + ".dist-info",
    }


def test_an_installed_dslgen(place: Path, tmp_path: Path) -> None:
    dslgen, python = place / "bin/dslgen", place / "bin/python"
    project = tmp_path / "project"
    assert "site-packages" in run(python, "-c", "import dsl; print(dsl.__file__)", cwd=tmp_path)
    run(dslgen, "init", project, cwd=tmp_path)
    for command in (["check"], ["fmt", "--check"], ["list"], ["build"], ["build", "--check"]):
        run(dslgen, *command, cwd=project)
    run(dslgen, "show", "log_cosh", "--after", "target", cwd=project)
    run(dslgen, "check", "--error-format", "sarif", cwd=project)
    run(dslgen, "explain", "E0101", cwd=project)
    run(dslgen, "bench", "--plan", "plan.json", cwd=project)
    run(dslgen, "emit", "--style", "hf-kernel", "-o", "hub", cwd=project)
    assert (project / "kernels/py.typed").exists()
    for command, extra in (
        (["certify"], "torch"),
        (["bench"], "torch"),
        (["explain", "log_cosh"], "certify"),
        (["inspect", "--all"], "torch"),
        (["plot", "log_cosh", "-o", "a.png"], "torch"),
        (["lsp"], "lsp"),
    ):
        said = run(dslgen, *command, cwd=project, code=2)
        assert f"pip install 'dslgen[{extra}]'" in said, command
    ask = "import dsl\ntry: dsl.compile\nexcept ModuleNotFoundError as error: print(error)"
    assert "pip install 'dslgen[torch]'" in run(python, "-c", ask, cwd=tmp_path)

    (next(place.glob("lib/*/site-packages")) / "rest.pth").write_text(f"{PACKAGES}\n", encoding="utf-8")
    code = (
        "import torch, dsl, kernels\n"
        "assert dsl.compile('x * sigmoid(x)')(torch.zeros(2)).tolist() == [0, 0]\n"
        "assert kernels.LogCosh()(torch.tensor(1000.0)).isfinite()\n"
        "print(dsl.__file__)"
    )
    assert str(place) in run(python, "-c", code, cwd=project)
    assert "no errors" in run(dslgen, "check", cwd=project)
