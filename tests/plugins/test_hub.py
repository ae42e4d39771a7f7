"""A kernel for the Hub, loaded by the library that loads kernels from the Hub."""

from pathlib import Path

import pytest
import torch
from kernels import (
    LocalLayerRepository,
    Mode,
    get_loaded_kernels,
    get_local_kernel,
    kernelize,
    replace_kernel_forward_from_hub,
    use_kernel_mapping,
)
from kernels._rust import Digest, Metadata
from torch import nn

from dsl.cli import run as _run
from dsl.project import read_project

ROOT = Path(__file__).parents[2]
ACTIVATIONS = {each.class_name: each for each in read_project([ROOT / "specs"]).checked().activations}
LIKE_TORCH = [n for n, each in ACTIVATIONS.items() if hasattr(nn, n) and each.unary and not each.random]
MODE = Mode.TRAINING | Mode.TORCH_COMPILE


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hub") / "Our_activations"
    assert _run(["emit", str(ROOT / "specs"), "--style", "hf-kernel", "-o", str(out)]) == 0
    return out


def test_the_package(repository: Path) -> None:
    package = get_local_kernel(repository)
    (loaded,) = (kernel for kernel in get_loaded_kernels() if kernel.module is package)
    assert str(loaded.metadata.name) == "our-activations"
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(package.mish(x), nn.functional.mish(x))
    assert {*ACTIVATIONS, *(each.name for each in ACTIVATIONS.values()), "layers"} <= set(package.__all__)


def test_the_digests_are_those_that_the_library_computes(repository: Path) -> None:
    folder = repository / "build/torch-universal"
    told = Metadata.read_from_file(folder / "metadata.json").digest
    assert told is not None
    told.validate(Digest.hash_variant(told.algorithm, folder))


@pytest.mark.parametrize("name", LIKE_TORCH)
def test_the_layer_takes_the_place_of_torchs(name: str, repository: Path) -> None:
    class Ours(getattr(nn, name)):  # type: ignore[misc] # so that torch's own class stays as it is
        pass

    replace_kernel_forward_from_hub(Ours, name)
    layer = Ours(0.5, 0.25) if name == "Threshold" else Ours()
    net = nn.Sequential(layer)
    x = torch.linspace(-9, 9, 1001, requires_grad=True)
    expected = net(x)
    (slope,) = torch.autograd.grad(expected.sum(), x)
    with use_kernel_mapping({name: {"cpu": LocalLayerRepository(repository, layer_name=name)}}):
        kernelize(net, mode=MODE, device="cpu", use_fallback=False)
    assert layer.forward.__func__.__module__.startswith("_our_activations_dslgen_")
    result = net(x)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.autograd.grad(result.sum(), x)[0], slope, rtol=1e-4, atol=1e-5)


def test_in_place_and_compiled(repository: Path) -> None:
    class Ours(nn.LeakyReLU):
        pass

    replace_kernel_forward_from_hub(Ours, "Leaky")
    net = nn.Sequential(Ours(0.3, inplace=True))
    with use_kernel_mapping({"Leaky": {"cpu": LocalLayerRepository(repository, layer_name="LeakyReLU")}}):
        kernelize(net, mode=MODE, device="cpu", use_fallback=False)
    x = torch.tensor([-1.0, 2.0])
    assert net(x) is x
    torch.testing.assert_close(x, torch.tensor([-0.3, 2.0]))
    compiled = torch.compile(net, fullgraph=True)
    torch.testing.assert_close(compiled(torch.tensor([-1.0, 2.0])), x)
