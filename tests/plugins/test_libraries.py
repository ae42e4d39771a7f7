"""More than the page shows: what the libraries do with modules besides building them."""

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from timm.utils import ModelEmaV3
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.activations import ACT2FN

import dsl
from generated import ELU, Hardsigmoid, Hardswish, Mish, ReLU

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three names for transformers, one of them of a class made here and now."""
    monkeypatch.setenv("DSLGEN_CACHE", str(tmp_path / "cache"))
    ours = {"dsl_mish": Mish, "dsl_elu": (ELU, {"alpha": 0.5}), "dsl_new": type(dsl.compile("x * tanh(x)"))}
    ACT2FN.update(ours)
    yield
    for name in ours:
        del ACT2FN[name]


def llama(activation: str) -> LlamaForCausalLM:
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(hidden_act=activation, **sizes, **heads))


@pytest.mark.parametrize("activation", ["dsl_mish", "dsl_elu", "dsl_new"])
def test_a_llama_learns_and_comes_back_the_same(activation: str, tmp_path: Path) -> None:
    model = llama(activation)
    tokens = torch.randint(64, (2, 16))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(5):
        loss = model(tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    model.eval().save_pretrained(tmp_path)
    again = LlamaForCausalLM.from_pretrained(tmp_path).eval()
    assert again.config.hidden_act == activation
    assert type(again.model.layers[0].mlp.act_fn) is type(model.model.layers[0].mlp.act_fn)
    assert torch.equal(model(tokens).logits, again(tokens).logits)


def test_a_llama_has_the_outputs_of_the_activation_of_its_own() -> None:
    tokens = torch.randint(64, (2, 16))
    ours, theirs = llama("dsl_mish"), llama("mish")
    torch.testing.assert_close(ours(tokens).logits, theirs(tokens).logits, rtol=1e-5, atol=1e-6)


def test_a_compiled_llama() -> None:
    tokens = torch.randint(64, (1, 8))
    model = llama("dsl_mish").eval()
    compiled = torch.compile(model, fullgraph=True)
    torch.testing.assert_close(compiled(tokens).logits, model(tokens).logits, rtol=1e-4, atol=1e-5)


LOAD = """
import sys, torch
from transformers import LlamaForCausalLM
from transformers.activations import ACT2FN
from generated import Mish
ACT2FN["dsl_mish"] = Mish
print(LlamaForCausalLM.from_pretrained(sys.argv[1]).eval()(torch.arange(8)[None]).logits.sum().item())
"""


def test_a_llama_in_another_process(tmp_path: Path) -> None:
    model = llama("dsl_mish").eval()
    model.save_pretrained(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # torchvision, which transformers tries to import, is out of the way: see conftest.py.
    code = "import sys; sys.modules['torchvision'] = None\n" + LOAD
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = model(torch.arange(8)[None]).logits.sum().item()
    assert float(done.stdout.splitlines()[-1]) == pytest.approx(expected, rel=1e-5)


def test_timm_with_a_formula(tmp_path: Path) -> None:
    act_layer = type(dsl.compile("x * sigmoid(a * x) + b", a=1.0, b=0.0))
    with pytest.raises(TypeError, match="'a' and 'b'"):
        timm.create_model("resnet10t", act_layer=act_layer)
    act_layer = type(dsl.compile("gated(x; a = 1.702) = x * sigmoid(a * x)"))
    model = timm.create_model("resnet10t", act_layer=act_layer, num_classes=3)
    average = ModelEmaV3(model)
    x = torch.randn(1, 3, 64, 64)
    model.eval()
    average.eval()
    assert torch.equal(average.module(x), model(x))
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))


def test_replace_in_a_torchvision_model() -> None:
    mapping = {nn.Hardswish: Hardswish, nn.Hardsigmoid: Hardsigmoid, nn.ReLU: ReLU}
    model = torchvision.models.mobilenet_v3_small(num_classes=10).eval()
    there = {old: sum(type(module) is old for module in model.modules()) for old in mapping}
    assert all(there.values())
    changed, counts = dsl.replace(copy.deepcopy(model), mapping)
    assert counts == there
    assert not any(type(module) in mapping for module in changed.modules())
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(changed(x), model(x))
