"""Generated code on a CPU: kernels in Triton's interpreter, formulas in torch, as functions of numpy arrays.

In: a generated package, an activation's name. Out: float64 arrays. The interpreter is chosen when Triton
decorates a function, hence a process of its own, in which `start` comes first.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray

PLACES = {"value": "_formula", "gradient": "_grad_formula"}
"""What an operator calls its formulas, by kind."""

EMPTY: Mapping[str, float] = {}

_packages: list[ModuleType] = []


def start(folder: str, package: str) -> None:
    """Import a package from a folder, its kernels interpreted."""
    os.environ["TRITON_INTERPRET"] = "1"
    import torch

    _mend_conversions()
    np.seterr(all="ignore")
    torch.set_num_threads(1)
    sys.path.insert(0, folder)
    _packages.append(importlib.import_module(package))


def kernel(
    name: str, kind: str, dtype: str, parameters: Mapping[str, float] = EMPTY
) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
    """An activation or its gradient, by the kernels; without `parameters`, at their defaults."""
    import torch

    function = getattr(importlib.import_module(f"{_packages[0].__name__}.{name}"), name)

    def run(points: NDArray[Any]) -> NDArray[np.float64]:
        x = torch.from_numpy(points.astype(np.float64)).to(getattr(torch, dtype))
        y = function(x.requires_grad_(kind == "gradient"), *parameters.values())
        if kind == "gradient":
            (y,) = torch.autograd.grad(y, x, torch.ones_like(y))
        result: NDArray[np.float64] = y.detach().double().numpy()
        return result

    return run


def formula(
    name: str, kind: str, dtype: str, parameters: Mapping[str, float]
) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
    """The same by the formula in torch operations, as it runs where no kernel does."""
    import torch

    module = importlib.import_module(f"{_packages[0].__name__}.{name}")
    compute = getattr(module._operator, PLACES[kind])
    target = getattr(torch, dtype)

    def run(points: NDArray[Any]) -> NDArray[np.float64]:
        x = module._operator._widened(torch.from_numpy(points.astype(np.float64)).to(target))
        result: NDArray[np.float64] = compute(x, *parameters.values()).to(target).double().numpy()
        return result

    return run


def joint(
    name: str,
    by: str,
    place: tuple[int, int | None],
    dtype: str,
    point: tuple[float, ...],
    swept: int,
    parameters: Mapping[str, float],
) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
    """An activation of several inputs as a function of the one at `swept`, the others as in `point`.

    `by` is "kernel" or "formula"; `place` has an output and, for a derivative, the input that it is by.
    """
    import torch

    operator = importlib.import_module(f"{_packages[0].__name__}.{name}")._operator
    output, slope = place
    target = getattr(torch, dtype)
    given = tuple(parameters.values())

    def run(points: NDArray[Any]) -> NDArray[np.float64]:
        x = torch.from_numpy(points.astype(np.float64))
        columns = [x if i == swept else torch.full_like(x, value) for i, value in enumerate(point)]
        if by == "formula":
            formulas = operator.outputs[output]
            compute = formulas.value if slope is None else formulas.slopes[slope]
            y = compute(*(operator._widened(each.to(target)) for each in columns), *given).to(target)
        else:
            inputs = tuple(each.to(target) for each in columns)
            results = operator.evaluate(inputs, given)
            y = results[output]
            if slope is not None:
                wanted = [i == slope for i in range(operator.inputs)]
                grads = tuple(torch.full_like(y, float(i == output)) for i, _ in enumerate(results))
                (y,) = operator.evaluate_slopes(grads, inputs, given, wanted)
        result: NDArray[np.float64] = y.double().numpy()
        return result

    return run


def learned(
    name: str,
    by: str,
    slope: int | None,
    dtype: str,
    given: Mapping[str, SupportsFloat],
    entries: Sequence[str],
    point: tuple[float, ...],
    swept: int,
) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
    """An activation whose parameters' values, `entries`, are by channel, with a channel for each element.

    It is a function of the input at `swept`, the others as in `point`. `by` is "kernel" or "formula"; `slope`
    counts the variables that a derivative is by, the inputs first, and is None for the value. `given` are the
    values and the other parameters, which are numbers.
    """
    import torch

    operator = importlib.import_module(f"{_packages[0].__name__}.{name}")._operator
    target = getattr(torch, dtype)
    wide = torch.float64 if dtype == "float64" else torch.float32
    values = [float(given[entry]) for entry in entries]
    numbers = tuple(float(value) for key, value in given.items() if key not in entries)

    def run(points: NDArray[Any]) -> NDArray[np.float64]:
        x = torch.from_numpy(points.astype(np.float64)).to(target)[None]
        inputs = tuple(x if i == swept else torch.full_like(x, value) for i, value in enumerate(point))
        if by == "formula":
            compute = operator._formula if slope is None else operator._slope_formulas[slope]
            columns = (each.to(wide) for each in inputs)
            y = compute(*columns, *(torch.tensor(value, dtype=wide) for value in values), *numbers)
            y = y.to(target).expand(x.shape)
        else:
            own = tuple(torch.full(x.shape[1:], value, dtype=target) for value in values)
            if slope is None:
                y = operator.evaluate(inputs, own, numbers, 1)
            else:
                wanted = [place == slope for place in range(len(inputs) + len(own))]
                (y,) = operator.evaluate_slopes(torch.ones_like(x), inputs, own, numbers, 1, wanted)
        result: NDArray[np.float64] = y.double().numpy().reshape(-1)
        return result

    return run


def summed(
    name: str, by: str, dtype: str, given: Mapping[str, SupportsFloat], learned: Sequence[Any], variable: str
) -> Callable[[Sequence[NDArray[np.float64]], NDArray[np.float64]], NDArray[np.float64]]:
    """The gradient of one of the parameters' values, of the inputs and an incoming gradient.

    `learned` are the parameters, of which those by channel have a value for each in dimension 1.
    """
    import torch

    operator = importlib.import_module(f"{_packages[0].__name__}.{name}")._operator
    target = getattr(torch, dtype)
    entries = {entry for each in learned for entry in each.entries}
    numbers = tuple(float(value) for key, value in given.items() if key not in entries)
    wanted = [False] * operator.inputs + [variable in each.entries for each in learned]
    place = next(each.entries.index(variable) for each in learned if variable in each.entries)

    def run(points: Sequence[NDArray[np.float64]], slopes: NDArray[np.float64]) -> NDArray[np.float64]:
        *tensors, grad = (torch.from_numpy(each).to(target) for each in (*points, slopes))
        inputs = tuple(tensors)
        own = []
        for each in learned:
            values = torch.tensor([float(given[entry]) for entry in each.entries], dtype=target)
            own.append(values.expand(grad.shape[1]).contiguous() if each.kind == "channel" else values)
        if by == "formula":
            (found,) = operator.differentiable_slopes(grad, inputs, tuple(own), numbers, 1, wanted)
        else:
            (found,) = operator.evaluate_slopes(grad, inputs, tuple(own), numbers, 1, wanted)
        by_channel = any(variable in each.entries for each in learned if each.kind == "channel")
        result: NDArray[np.float64] = found.double().numpy().reshape(-1)
        return result if by_channel else result[place : place + 1]

    return run


def rows(
    name: str, by: str, which: int, dtype: str, inputs: tuple[str, ...], parameters: Mapping[str, float]
) -> Callable[[Mapping[str, NDArray[np.float64]]], NDArray[np.float64]]:
    """An activation over rows, as a function of tensors by name, whose rows are along the last dimension.

    `by` is "kernel" or "formula"; `which` is 0 for the value and then counts the inputs that a gradient is
    by, of which the incoming one comes after the inputs.
    """
    import torch

    operator = importlib.import_module(f"{_packages[0].__name__}.{name}")._operator
    target = getattr(torch, dtype)
    rest = (*parameters.values(), -1)
    wanted = [place == which for place, _ in enumerate(inputs, 1)]

    def run(tensors: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        given = tuple(torch.from_numpy(np.ascontiguousarray(each)).to(target) for each in tensors.values())
        own, grad = given[: len(inputs)], given[len(inputs) :]
        if by == "formula":
            y = operator.formula(which, own, grad, rest).to(target)
        elif which:
            (y,) = operator.compute_slopes(*grad, own, rest, wanted)
        else:
            y = operator.compute(own, rest)
        result: NDArray[np.float64] = y.double().numpy()
        return result

    return run


def _mend_conversions() -> None:
    """Have the interpreter convert between float32 and bfloat16 as GPUs do."""
    import torch
    import triton.language as tl
    from triton.runtime import interpreter

    original = interpreter._convert_float

    def convert(data: Any, source: Any, target: Any, rounding: Any) -> Any:
        # The interpreter truncates here; GPUs round to nearest, ties to even, as torch does.
        if source == tl.float32 and target == tl.bfloat16:
            wide = torch.from_numpy(np.ascontiguousarray(data).view(np.float32))
            return wide.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
        # And loses the last bits of subnormals here.
        if source == tl.bfloat16 and target == tl.float32:
            return np.ascontiguousarray(data).view(np.uint16).astype(np.uint32) << 16
        return original(data, source, target, rounding)

    interpreter._convert_float = convert
