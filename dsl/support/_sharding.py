"""DTensor's rule for the activations of this package.

In: an operator of PyTorch's registry. Out: nothing; DTensor then knows how to run it. This is a module of its
own because importing torch.distributed takes long, so that it happens when the first DTensor comes along.
"""

from collections.abc import Sequence
from typing import Any

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
    """How an activation with learnable parameters runs on shards of its input: each device on its own.

    Its parameters are whole on every device, or split with the channels where they have a value for each. The
    gradient of a whole one is a partial sum where the input is split. Raises RuntimeError for parameters that
    are no DTensors of the input's mesh.
    """

    def __init__(
        self, name: str, x: Any, learned: Sequence[Any], by_channel: Sequence[bool], dim: int
    ) -> None:
        for p in learned:
            if not isinstance(p, DTensor) or p.device_mesh != x.device_mesh:
                raise RuntimeError(f"{name}: the input is a DTensor, and its parameters are none of its mesh")
        self.mesh = x.device_mesh
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
        """This device's part of the input, or of a gradient laid out like it."""
        part: Tensor = x.redistribute(self.mesh, self.placements).to_local()
        return part

    def local_parameters(self, learned: Sequence[Any]) -> tuple[Tensor, ...]:
        """This device's part of each parameter."""
        return tuple(
            p.redistribute(self.mesh, [Shard(0) if each else Replicate() for each in split]).to_local()
            for p, split in zip(learned, self.split, strict=True)
        )

    def whole(self, part: Tensor, like: Any) -> Any:
        """What this device has of a result that is laid out as the input is."""
        return _assembled(part, self.mesh, self.placements, like)

    def sums(self, part: Tensor, place: int, like: Any) -> Any:
        """What this device has of the gradient of the parameter at a place."""
        placements = [
            Shard(0) if split else Replicate() if each.is_replicate() else Partial()
            for split, each in zip(self.split[place], self.placements, strict=True)
        ]
        return _assembled(part, self.mesh, placements, like)


def _assembled(part: Tensor, mesh: Any, placements: list[Any], like: Any) -> Any:
    return DTensor.from_local(part, mesh, placements, run_check=False, shape=like.shape, stride=like.stride())
