"""`dsl.replace`: modules in the place of others, and nothing lost without a word."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import dsl


class Act(nn.Module):
    """An activation with settings, as a generated one is."""

    def __init__(self, slope: float = 0.1, inplace: bool = False) -> None:
        super().__init__()
        self.slope = slope
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        return x * self.slope

    def extra_repr(self) -> str:
        return f"slope={self.slope}, inplace={self.inplace}"


class Plain(nn.Module):
    """One without any."""


def test_settings_and_mode_are_carried_over() -> None:
    class Old(Act):
        pass

    model = nn.Sequential(nn.Linear(2, 2), Old(0.3, inplace=True), nn.Sequential(Old(), nn.ReLU())).eval()
    model[1].train()
    result, counts = dsl.replace(model, {Old: Act, nn.ReLU: nn.ELU, nn.Mish: Act})
    assert result is model
    assert counts == {Old: 2, nn.ReLU: 1, nn.Mish: 0}
    assert repr(model[1]) == "Act(slope=0.3, inplace=True)"
    assert repr(model[2]) == "Sequential(\n  (0): Act(slope=0.1, inplace=False)\n  (1): ELU(alpha=1.0)\n)"
    assert [module.training for module in model.modules() if isinstance(module, Act)] == [True, False]


TORCHS = [
    nn.CELU(0.5),
    nn.ELU(0.5, inplace=True),
    nn.GELU("tanh"),
    nn.GLU(0),
    nn.Hardshrink(0.75),
    nn.Hardtanh(-2.0, 3.0),
    nn.LeakyReLU(0.3),
    nn.LogSigmoid(),
    nn.RReLU(0.2, 0.4),
    nn.ReLU6(inplace=True),
    nn.Softmax(1),
    nn.Softplus(2.0, 10.0),
    nn.Tanh(),
    nn.Threshold(0.5, 0.25),
]


@pytest.mark.parametrize("old", TORCHS, ids=lambda each: type(each).__name__)
def test_torchs_own_settings_are_told(old: nn.Module) -> None:
    new, _ = dsl.replace(old, {type(old): type(old)})
    assert new is not old
    assert repr(new) == repr(old)
    assert new.__dict__.keys() == old.__dict__.keys()


def test_what_is_shared_stays_shared() -> None:
    shared = nn.ReLU()
    inner = nn.Sequential(shared, nn.ReLU())
    model = nn.ModuleDict({"a": shared, "b": inner, "c": inner, "d": nn.ModuleList([shared])})
    assert dsl.replace(model, {nn.ReLU: nn.ELU}).counts == {nn.ReLU: 2}
    assert model["a"] is model["b"][0] is model["d"][0]  # type: ignore[index]
    assert model["b"] is model["c"] is inner
    assert isinstance(inner[1], nn.ELU)
    assert inner[1] is not inner[0]


def test_the_model_itself() -> None:
    old = nn.LeakyReLU(0.25)
    new, counts = dsl.replace(old, {nn.LeakyReLU: lambda each: Act(vars(each)["negative_slope"])})
    assert repr(new) == "Act(slope=0.25, inplace=False)"
    assert counts == {nn.LeakyReLU: 1}
    assert dsl.replace(nn.Tanh(), {nn.ReLU: Act}).counts == {nn.ReLU: 0}


def test_a_module_is_copied() -> None:
    model = nn.Sequential(nn.ReLU(), nn.ReLU())
    given = Act(0.5)
    dsl.replace(model, {nn.ReLU: given})
    assert [module.slope for module in model] == [0.5, 0.5]
    assert len({id(module) for module in (given, *model)}) == 3


def test_subclasses_and_parametrized_modules_are_left_alone() -> None:
    parametrized = nn.ReLU()
    parametrized.register_parameter("w", nn.Parameter(torch.ones(1)))
    parametrize.register_parametrization(parametrized, "w", nn.Identity())
    model = nn.Sequential(nn.ReLU6(), parametrized)
    assert dsl.replace(model, {nn.Hardtanh: Act, nn.ReLU: Act}).counts == {nn.Hardtanh: 0, nn.ReLU: 0}
    assert model[1] is parametrized


class Untold(nn.Module):
    """Keeps what it is given under another name."""

    def __init__(self, slope: float = 0.1) -> None:
        super().__init__()
        self.s = slope


class Needy(nn.Module):
    def __init__(self, slope: float) -> None:
        super().__init__()


def hooked() -> nn.Module:
    module = nn.ReLU()
    module.register_forward_hook(lambda *_: None)
    return module


def patched() -> nn.Module:
    module = nn.ReLU()
    module.forward = nn.Identity().forward  # type: ignore[method-assign]
    return module


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (nn.GELU("tanh"), Plain, "1.0 (GELU): Plain takes no 'approximate', which is 'tanh' here"),
        (nn.GELU("tanh"), Plain(), "1.0 (GELU): Plain takes no 'approximate', which is 'tanh' here"),
        (nn.ReLU(inplace=True), Plain, "1.0 (ReLU): Plain takes no 'inplace', which is True here"),
        (nn.PReLU(), Act, "1.0 (PReLU): it has parameters or buffers"),
        (Untold(), Act, "1.0 (Untold): it does not tell its 'slope'"),
        (nn.ReLU(), Needy, "1.0 (ReLU): it has no 'slope', which Needy needs"),
        (hooked(), nn.ELU, "1.0 (ReLU): it has hooks, or a forward() of its own"),
        (patched(), nn.ELU, "1.0 (ReLU): it has hooks, or a forward() of its own"),
    ],
)
def test_what_would_be_lost_is_refused(old: nn.Module, new: Any, message: str) -> None:
    inner = nn.Sequential(old)
    model = nn.Sequential(nn.Mish(), inner)
    with pytest.raises(ValueError, match=re.escape(message)):
        dsl.replace(model, {nn.Mish: Act, type(old): new})
    assert isinstance(model[0], nn.Mish)
    assert inner[0] is old
    dsl.replace(model, {nn.Mish: lambda _: Act(), type(old): lambda _: Act()})
    assert repr(inner[0]) == "Act(slope=0.1, inplace=False)"


def test_a_setting_at_its_default_may_go() -> None:
    model = nn.Sequential(nn.GELU(), nn.Mish())
    dsl.replace(model, {nn.GELU: Plain, nn.Mish: Plain})
    assert [type(module) for module in model] == [Plain, Plain]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"ReLU": Act}, "the keys are classes of modules, not 'ReLU'"),
        ({int: Act}, "the keys are classes of modules"),
        ({nn.ReLU: int}, "ReLU: int is no class of modules"),
        ({nn.ReLU: 3}, "ReLU: 3 is no module, no class of modules and no function"),
        ({nn.ReLU: lambda _: 3}, "0 (ReLU): the function gave 3, which is no module"),
    ],
)
def test_mappings_that_are_none(mapping: Any, message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        dsl.replace(nn.Sequential(nn.ReLU()), mapping)


def test_with_a_formula() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Mish())
    x = torch.randn(3, 4)
    before = model(x)
    assert dsl.replace(model, {nn.Mish: lambda _: dsl.compile("x * tanh(softplus(x))")}).counts == {
        nn.Mish: 1
    }
    torch.testing.assert_close(model(x), before)
