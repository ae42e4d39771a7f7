"""torch.compile, torch.export and AOTInductor: one compilation holds every activation, for the time it takes.

In: the activations. Out: by name, what is wrong. A compilation that fails as a whole raises.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from functorch.compile import make_boxed_func
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch.testing import assert_close

from tests.conformance.subject import Subject

Found = dict[str, str | None]
SIZES = (24, 17, 40)


class All(nn.Module):
    """Every activation of its own input."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(s.new_layer() for s in subjects)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The values, in order."""
        return tuple(layer(x) for layer, x in zip(self.layers, inputs, strict=True))


def _inputs(subjects: Sequence[Subject], size: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [s.random(size, 2, dtype=dtype) for s in subjects]


def _compare(
    subjects: Sequence[Subject], got: Sequence[Tensor], expected: Sequence[Tensor]
) -> Iterator[str | None]:
    for ours, eager in zip(got, expected, strict=True):
        try:
            assert_close(ours, eager)
        except AssertionError as error:
            yield f"{error}"
        else:
            yield None


def _merged(subjects: Sequence[Subject], rounds: Sequence[Iterator[str | None]]) -> Found:
    columns = zip(*rounds, strict=True)
    return {s.name: next(filter(None, column), None) for s, column in zip(subjects, columns, strict=True)}


def _compiled(subjects: Sequence[Subject], backend: Any = "inductor") -> Found:
    """Values and gradients in several sizes, compiled as a whole, and once."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = All(subjects)
    run = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    rounds = []
    for size in SIZES:
        inputs = [x.requires_grad_() for x in _inputs(subjects, size)]
        values = run(*inputs)
        gradients = torch.autograd.grad([y.sum() for y in values], inputs)
        rounds.append(_compare(subjects, values, [s(x) for s, x in zip(subjects, inputs, strict=True)]))
        expected = [s.derivative(x) for s, x in zip(subjects, inputs, strict=True)]
        rounds.append(_compare(subjects, gradients, expected))
    found = _merged(subjects, rounds)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs == 1, f"{graphs} graphs for {len(SIZES)} sizes"
    return found


@contextmanager
def _mode(subjects: Sequence[Subject], mode: str) -> Iterator[None]:
    runtime = subjects[0].runtime
    before = runtime.get_compile_mode()
    runtime.set_compile_mode(mode)
    try:
        yield
    finally:
        runtime.set_compile_mode(before)


def kernels(subjects: Sequence[Subject]) -> Found:
    """In the other mode: the graphs hold our operators, forward and backward."""
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return make_boxed_func(graph.forward)

    with _mode(subjects, "kernel"):
        found = _compiled(subjects, aot_autograd(fw_compiler=keep, bw_compiler=keep))
        inductor = _compiled(subjects)
    targets = [{str(n.target) for n in graph.graph.nodes if n.op == "call_function"} for graph in graphs]
    for s in subjects:
        for operator, graph in zip((s.operator.value, s.operator.slope), targets, strict=True):
            if str(operator) not in graph:
                found[s.name] = found[s.name] or f"the compiled graph does not call {operator}"
        found[s.name] = found[s.name] or inductor[s.name]
    return found


def compiled_gradients(subjects: Sequence[Subject]) -> Found:
    """torch.func inside a compiled function, in both modes."""

    def gradients(*inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            torch.func.grad(lambda x, s=s: s(x).sum())(x) for s, x in zip(subjects, inputs, strict=True)
        )

    def tangents(*inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            torch.func.jvp(s, (x,), (torch.ones_like(x),))[1] for s, x in zip(subjects, inputs, strict=True)
        )

    def batched(*inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            torch.vmap(torch.func.grad(s))(x.flatten()).view_as(x)
            for s, x in zip(subjects, inputs, strict=True)
        )

    inputs = _inputs(subjects, 12)
    expected = [s.derivative(x) for s, x in zip(subjects, inputs, strict=True)]
    rounds = []
    for mode, function in (("fuse", gradients), ("fuse", tangents), ("fuse", batched), ("kernel", gradients)):
        with _mode(subjects, mode):
            torch._dynamo.reset()
            run = torch.compile(function, fullgraph=True, backend="aot_eager")
            rounds.append(_compare(subjects, run(*inputs), expected))
    return _merged(subjects, rounds)


def _program(subjects: Sequence[Subject]) -> Any:
    rows = torch.export.Dim("rows", min=2, max=4096)
    inputs = tuple(_inputs(subjects, 8))
    with torch.no_grad():
        return torch.export.export(All(subjects), inputs, dynamic_shapes=(({0: rows},) * len(subjects),))


def exported(subjects: Sequence[Subject]) -> Found:
    """An exported program with a dynamic dimension, of PyTorch's own operators alone."""
    program = _program(subjects)
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    foreign = [t for t in targets if not t.startswith(("aten.", "_operator.", "<built-in function"))]
    assert not foreign, foreign
    rounds = []
    for size in SIZES:
        inputs = _inputs(subjects, size)
        expected = [s(x) for s, x in zip(subjects, inputs, strict=True)]
        rounds.append(_compare(subjects, program.module()(*inputs), expected))
    return _merged(subjects, rounds)


def ahead_of_time(subjects: Sequence[Subject]) -> Found:
    """The exported program, compiled by AOTInductor into a package and loaded from it."""
    with tempfile.TemporaryDirectory() as folder:
        path = torch._inductor.aoti_compile_and_package(
            _program(subjects), package_path=str(Path(folder) / "all.pt2")
        )
        run = torch._inductor.aoti_load_package(path)
        rounds = []
        for size in SIZES:
            inputs = _inputs(subjects, size)
            expected = [s(x) for s, x in zip(subjects, inputs, strict=True)]
            rounds.append(_compare(subjects, run(*inputs), expected))
        return _merged(subjects, rounds)


CHECKS = {
    "compile: fuse": _compiled,
    "compile: kernel": kernels,
    "compile: torch.func": compiled_gradients,
    "export": exported,
}
BATCHES = {"compile: fuse": 24}
"""Activations in one compilation with gradients: Dynamo fails on some fifty Functions in one graph."""

ON_A_CPU = {"AOTInductor": ahead_of_time}
"""For a GPU it needs CUDA's own compiler and headers, which a machine that runs kernels need not have."""
