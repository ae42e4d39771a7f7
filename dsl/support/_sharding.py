"""DTensor's rule for the activations of this package.

In: an operator of PyTorch's registry. Out: nothing; DTensor then knows how to run it. This is a module of its
own because importing torch.distributed takes long, so that it happens when the first DTensor comes along.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.distributed.tensor.experimental import register_sharding


def register(operator: Any, tensors: int, parameters: int) -> None:
    """Let an elementwise operator run on shards: every dimension may be split, in all its tensors alike.

    A partial sum is made whole first, on every device: an activation of a sum is no sum of activations, and
    DTensor cannot bring the gradient of a shard back to the partial sum's layout.
    """
    outputs = len(operator._schema.returns)

    def rule(*arguments: Any) -> list[tuple[list[Any], list[Any]]]:
        specs = arguments[:tensors]
        partial = any(placement.is_partial() for spec in specs for placement in spec.placements)
        dimensions = 0 if partial else specs[0].ndim
        placements = [Replicate(), *(Shard(dim) for dim in range(dimensions))]
        return [([p] * outputs, [p] * tensors + [None] * parameters) for p in placements]

    register_sharding(operator)(rule)


class Sharded:
    """How an activation with learnable parameters runs on shards of its inputs: each device on its own.

    All inputs are laid out as the first is that is split, if any is. The parameters are whole on every
    device, or split with the channels where they have a value for each. The gradient of a whole one is a
    partial sum where the inputs are split. Raises RuntimeError for inputs and parameters that are no DTensors
    of one mesh.
    """

    def __init__(
        self, name: str, inputs: Sequence[Any], learned: Sequence[Any], by_channel: Sequence[bool], dim: int
    ) -> None:
        some = next(x for x in inputs if isinstance(x, DTensor))
        for each in (*inputs, *learned):
            if not isinstance(each, DTensor) or each.device_mesh != some.device_mesh:
                raise RuntimeError(
                    f"{name}: an input is a DTensor, and not all inputs and parameters are such of its mesh"
                )
        x = next((x for x in inputs if any(each.is_shard() for each in x.placements)), inputs[0])
        self.mesh = x.device_mesh
        self.like = next((x for x in inputs if 0 not in x.stride()), inputs[0])
        self.placements = [Replicate() if each.is_partial() else each for each in x.placements]
        channel = dim % x.dim() if -x.dim() <= dim < x.dim() else None
        self.split = [
            [
                channel is not None and each.is_shard(channel) and own and p.numel() != 1
                for each in self.placements
            ]
            for own, p in zip(by_channel, learned, strict=True)
        ]

    def local(self, x: Any) -> Tensor:
        """This device's part of an input, or of a gradient laid out like it."""
        part: Tensor = x.redistribute(self.mesh, self.placements).to_local()
        return part

    def local_parameters(self, learned: Sequence[Any]) -> tuple[Tensor, ...]:
        """This device's part of each parameter."""
        return tuple(
            p.redistribute(self.mesh, [Shard(0) if each else Replicate() for each in split]).to_local()
            for p, split in zip(learned, self.split, strict=True)
        )

    def whole(self, part: Tensor, of: Any = None) -> Any:
        """What this device has of a result, laid out as the inputs are or, a gradient, as its input."""
        strides = torch.empty_like(self.like, device="meta").stride()
        made = _assembled(part, self.mesh, self.placements, self.like.shape, strides)
        if of is None or any(each.is_partial() for each in of.placements):
            return made
        return made.redistribute(self.mesh, of.placements)

    def sums(self, part: Tensor, place: int, like: Any) -> Any:
        """What this device has of the gradient of the parameter at a place."""
        placements = [
            Shard(0) if split else Replicate() if each.is_replicate() else Partial()
            for split, each in zip(self.split[place], self.placements, strict=True)
        ]
        return _assembled(part, self.mesh, placements, like.shape, like.stride())


def _assembled(part: Tensor, mesh: Any, placements: list[Any], shape: Any, strides: tuple[int, ...]) -> Any:
    return DTensor.from_local(part, mesh, placements, run_check=False, shape=shape, stride=strides)
