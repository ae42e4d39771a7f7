"""DTensor's rule for the activations of this package.

In: an operator of PyTorch's registry. Out: nothing; DTensor then knows how to run it. This is a module of its
own because importing torch.distributed takes long, so that it happens when the first DTensor comes along.
"""

from typing import Any

from torch.distributed.tensor import Replicate, Shard
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
