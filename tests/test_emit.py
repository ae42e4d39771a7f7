"""`dslgen emit`: files in another form, whole and none but our own."""

import importlib.util
import inspect
import json
import sys
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dsl import emit
from dsl.cli import run as _run
from dsl.cli.make import STYLES
from dsl.targets import SUPPORT

SPEC = """
silu(x) = x * sigmoid(x)
  alias swish
  module SiLU

runtime(runtime; a = 1/2, b = 2) = a * silu(b * runtime)
  require b > 0
  module Scaled
"""
FOLDER = Path("my_Kernels/build/torch-universal")
FILES = {"silu.py", "runtime.py", "layers.py", "__init__.py", "metadata.json", *SUPPORT}

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/a.act").write_text(SPEC)
    return tmp_path


def run(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    code = _run(["emit", "--style", "hf-kernel", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_command_knows_the_styles() -> None:
    assert list(STYLES) == list(emit.STYLES)


@pytest.fixture
def package(capsys: Capture) -> Iterator[Any]:
    """The package, imported as the Hub's library imports it: under the name in its metadata."""
    assert run(capsys, "-o", "my_Kernels")[0] == 0
    name = json.loads((FOLDER / "metadata.json").read_text())["id"]
    spec = importlib.util.spec_from_file_location(name, FOLDER / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for each in [each for each in sys.modules if each.partition(".")[0] == name]:
        del sys.modules[each]


def test_what_the_package_gives(package: Any) -> None:
    assert package.__all__ == ["Scaled", "SiLU", "layers", "runtime", "silu", "swish"]
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(package.swish(x), nn.functional.silu(x))
    torch.testing.assert_close(package.Scaled(b=1.0)(x), nn.functional.silu(x) / 2)


def test_layers_have_no_state_of_their_own(package: Any) -> None:
    members = {name for name, _ in inspect.getmembers(nn.Module)}
    for name in ("SiLU", "Scaled"):
        layer = getattr(package.layers, name)
        assert layer.__init__ is nn.Module.__init__
        assert {each for each, _ in inspect.getmembers(layer)} - members == {
            "can_torch_compile",
            "has_backward",
        }
        assert (layer.can_torch_compile, layer.has_backward) == (True, True)
        assert len(inspect.signature(layer.forward).parameters) == 2


def test_a_layer_runs_as_a_method_of_another_module(package: Any) -> None:
    class Other(nn.Module):
        a, b, inplace = 3.0, 1.0, False

    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(package.layers.Scaled.forward(Other(), x), 3 * nn.functional.silu(x))
    torch.testing.assert_close(package.layers.SiLU.forward(nn.Module(), x), nn.functional.silu(x))
    assert package.layers.SiLU.forward(nn.SiLU(inplace=True), x) is x
    torch.testing.assert_close(x, nn.functional.silu(torch.linspace(-3, 3, 7)))
    with pytest.raises(AttributeError, match="'a'"):
        package.layers.Scaled.forward(nn.Module(), x)


def test_the_metadata(capsys: Capture) -> None:
    assert run(capsys, "-o", "my_Kernels") == (
        0,
        f"my_Kernels: {len(FILES)} written, 0 unchanged, 0 removed\n",
        "",
    )
    assert {path.name for path in FOLDER.iterdir()} == FILES
    said = json.loads((FOLDER / "metadata.json").read_text())
    assert said["name"] == "my-kernels"
    assert said["id"].isidentifier()
    assert said["digest"]["files"] == {
        name: b64encode(sha256((FOLDER / name).read_bytes()).digest()).decode()
        for name in sorted(FILES - {"metadata.json"})
    }


def test_again(capsys: Capture, project: Path) -> None:
    run(capsys, "-o", "my_Kernels")
    assert run(capsys, "-o", "my_Kernels")[1].endswith(f"0 written, {len(FILES)} unchanged, 0 removed\n")
    stays = FOLDER / "mine.py"
    stays.write_text("mine = 1\n")
    first = json.loads((FOLDER / "metadata.json").read_text())["id"]
    only = run(capsys, "--only", "swish", "-o", "my_Kernels")[1]
    assert only.endswith(f"3 written, {len(FILES) - 4} unchanged, 1 removed\n")
    assert {path.name for path in FOLDER.iterdir()} == FILES - {"runtime.py"} | {"mine.py"}
    assert json.loads((FOLDER / "metadata.json").read_text())["id"] != first
    run(capsys, "--only", "runtime", "--only", "silu", "-o", "my_Kernels")  # in any order
    assert json.loads((FOLDER / "metadata.json").read_text())["id"] == first


@pytest.mark.parametrize("name", ["metadata.json", "layers.py"])
def test_a_file_of_someone_else_is_not_overwritten(capsys: Capture, name: str) -> None:
    FOLDER.mkdir(parents=True)
    (FOLDER / name).write_text('{"id": "theirs"}\n')
    code, _, err = run(capsys, "-o", "my_Kernels")
    assert code == 2
    assert f"{name} was not generated by dslgen" in err
    assert [path.name for path in FOLDER.iterdir()] == [name]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-o", "2fast"], 2, "'2fast' is no name for a kernel"),
        (["-o", "k"], 2, "choose another directory, such as my-activations"),
        (["-o", "kernels", "--only", "sil"], 2, "no definition 'sil': did you mean 'silu'?"),
        (["-o", "kernels", "missing.act"], 1, "E0001"),
        ([], 2, "--out"),
    ],
)
def test_wrong_usage(capsys: Capture, arguments: list[str], code: int, message: str) -> None:
    assert run(capsys, *arguments)[0] == code
    assert message in run(capsys, *arguments)[2]
    assert _run(["emit", "--style", "bogus", "-o", "kernels"]) == 2


@pytest.mark.parametrize("spec", ["layers(x) = x\n", "one(x) = x\n  alias layers\n"])
def test_the_name_of_the_layers_is_taken(spec: str, capsys: Capture, project: Path) -> None:
    (project / "specs/a.act").write_text(spec)
    code, _, err = run(capsys, "-o", "kernels")
    assert code == 2
    assert "choose another name" in err
