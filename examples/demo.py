"""The main job, shown: two specs, their modules, exact values, PyTorch's values, and a network that trains.

In: the specs and the generated package of this repository. Out: tables on standard output (`make demo`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isinf, isnan
from pathlib import Path

import torch
from torch import Tensor, nn

import generated
from dsl.activation import Activation
from dsl.evaluate import evaluate
from dsl.pipeline import derive
from dsl.project import read_project
from dsl.show import show_activation
from dsl.ulp import FORMATS

POINTS = (0.5, 50.0, 1000.0, -50.0, inf, -inf)
ROOT = Path(__file__).parent.parent
Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """A shipped activation beside PyTorch's own function, and the formula typed as it is written."""

    name: str
    torch: Function
    typed: Function
    formula: str


CASES = (
    Case(
        "mish",
        nn.functional.mish,
        lambda x: x * torch.tanh(torch.log(1 + torch.exp(x))),
        "x * tanh(log(1 + exp(x)))",
    ),
    Case("softsign", nn.functional.softsign, lambda x: x / (1 + torch.abs(x)), "x / (1 + abs(x))"),
)


def main() -> None:
    """Show every case, then train."""
    activations = {each.name: each for each in read_project([ROOT / "specs"]).checked().activations}
    torch.set_num_threads(1)  # Tensors this small are not worth waking threads for.
    print("float32 on the CPU. WRONG: not a number, infinite, or far off; ulp: units in the last place.\n")
    for case in CASES:
        show(case, activations[case.name])
    train()


def show(case: Case, activation: Activation) -> None:
    """One case: where it comes from and goes to, its values, its derivatives."""
    print(show_activation(activation).rstrip(), end="\n\n")
    print(f"  spec    specs/{Path(activation.path).name}")
    print(f"  module  generated/{case.name}.py: {case.name}(x), {activation.class_name}()")
    print(f"  typed   {case.formula}, in torch operations\n")
    value, derivative, _ = derive(activation)
    columns = [column(run) for run in (getattr(generated, case.name), case.torch, case.typed)]
    for order, (title, root) in enumerate((("f(x)", value), ("f'(x)", derivative))):
        exact = evaluate(root, activation.input, POINTS, "float32").tolist()
        heads = (f"{'x':>6}  {f'exact {title}':<16}", "dslgen", "torch", "typed")
        print("  " + "  ".join(head.ljust(24) for head in heads).rstrip())
        for row, (x, true) in enumerate(zip(POINTS, exact, strict=True)):
            cells = [cell(results[order][row], true) for results in columns]
            print(f"  {x:>6g}  {true:<16.9g}  " + "  ".join(text.ljust(24) for text in cells).rstrip())
        print()


def column(run: Function) -> tuple[list[float], list[float]]:
    """A function's float32 values and, by autograd, derivatives at the points."""
    x = torch.tensor(POINTS, requires_grad=True)
    value = run(x)
    (derivative,) = torch.autograd.grad(value.sum(), x)
    return value.tolist(), derivative.tolist()


def cell(got: float, exact: float) -> str:
    """A result and how far off it is, in units in the last place of float32.

    >>> cell(1.0, 1.0), cell(1.0 + 2.0**-23, 1.0), cell(float("nan"), 1.0)
    ('1', '1.00000012  1 ulp', 'nan  WRONG')
    """
    text = f"{got:.9g}"
    if isnan(got) or isinf(got) or isinf(exact):
        return text if got == exact else f"{text}  WRONG"
    ulps = abs(got - exact) / float(FORMATS["float32"].ulp(torch.tensor(exact).double().numpy()))
    return text if ulps == 0 else f"{text}  {ulps:.0f} ulp" if ulps < 1e5 else f"{text}  WRONG"


def train(steps: int = 300) -> None:
    """Fit a sine twice: with PyTorch's module, and with the generated one in its place."""
    print("A network of two layers that learns sin(3 x), 256 points, Adam: mean squared error\n")
    runs = {
        "torch.nn.Mish()": losses(nn.Mish(), steps),
        "generated.Mish()": losses(generated.Mish(), steps),
    }
    shown = range(0, steps + 1, steps // 5)
    print("  step".ljust(20) + "".join(f"{step:>10}" for step in shown))
    for name, history in runs.items():
        print(f"  {name:<18}" + "".join(f"{history[step]:>10.5f}" for step in shown))


def losses(activation: nn.Module, steps: int) -> list[float]:
    """The loss before every step and after the last, from the same weights each time."""
    torch.manual_seed(0)
    x = torch.linspace(-2, 2, 256).unsqueeze(1)
    network = nn.Sequential(nn.Linear(1, 32), activation, nn.Linear(32, 32), activation, nn.Linear(32, 1))
    adam = torch.optim.Adam(network.parameters(), lr=0.01)
    history = []
    for _ in range(steps + 1):
        loss = nn.functional.mse_loss(network(x), torch.sin(3 * x))
        history.append(loss.item())
        adam.zero_grad()
        loss.backward()
        adam.step()
    return history


if __name__ == "__main__":
    main()
