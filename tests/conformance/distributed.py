"""Several real processes: DTensor, DDP, FSDP2 and tensor parallelism equal to one process.

    torchrun --standalone --nproc-per-node 2 -m tests.conformance.distributed

Uses NCCL and a GPU for each process where there are enough, gloo and CPUs otherwise. Every process makes the
same model and the same batch; what comes out of the parts is compared with what comes out of the whole.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from tests.conformance.subject import Subject, load
from tests.conformance.table import each

WIDTH = 8


def _model(s: Subject) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), s.new_layer(), nn.Linear(2 * WIDTH, WIDTH)).to(s.device)


def _batch(s: Subject) -> Tensor:
    """Twice as many rows as there are processes, so that each gets two."""
    return s.random(2 * dist.get_world_size(), WIDTH)


def _share(batch: Tensor) -> Tensor:
    """The rows of this process."""
    return batch.chunk(dist.get_world_size())[dist.get_rank()]


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _same_training(s: Subject, parallel: nn.Module, batch: Tensor) -> None:
    """The gradients of a step on this process's batch are those of one process on the whole batch."""
    model = _model(s)
    model(_batch(s)).square().mean().backward()
    parallel(batch).square().mean().backward()
    for (name, ours), alone in zip(parallel.named_parameters(), model.parameters(), strict=True):
        assert ours.grad is not None
        assert alone.grad is not None
        assert_close(_whole(ours.grad), alone.grad, msg=name)


def _mesh(s: Subject) -> DeviceMesh:
    return init_device_mesh(torch.device(s.device).type, (dist.get_world_size(),))


def dtensor(s: Subject) -> None:
    """Values and gradients of shards and replicas; a partial sum is made whole first."""
    mesh = _mesh(s)
    full = s.random(4, 6)
    gradient = s.random(4, 6).flip(0)
    for placement in (Shard(0), Shard(1), Replicate()):
        x = distribute_tensor(full, mesh, [placement]).requires_grad_()
        y = s(x)
        assert isinstance(y, DTensor)
        assert y.placements == (placement,)
        assert_close(y.full_tensor(), s(full))
        (dx,) = torch.autograd.grad(y, x, distribute_tensor(gradient, mesh, [placement]))
        assert_close(_whole(dx), gradient * s.derivative(full))
    partial = DTensor.from_local(full / dist.get_world_size(), mesh, [Partial()])
    assert_close(_whole(s(partial)), s(full))


def data_parallel(s: Subject) -> None:
    _same_training(s, DistributedDataParallel(_model(s)), _share(_batch(s)))


def fully_sharded(s: Subject) -> None:
    model: Any = _model(s)
    for layer in model:
        fully_shard(layer, mesh=_mesh(s))
    _same_training(s, fully_shard(model, mesh=_mesh(s)), _share(_batch(s)))


def tensor_parallel(s: Subject) -> None:
    plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
    _same_training(s, parallelize_module(_model(s), _mesh(s), plan), _batch(s))


def tensor_parallel_dtensors(s: Subject) -> None:
    """The same with a DTensor between the layers, so that the activation sees one."""
    plan = {"0": ColwiseParallel(use_local_output=False), "2": RowwiseParallel()}
    parallel: Any = parallelize_module(_model(s), _mesh(s), plan)
    seen: list[type] = []
    parallel[1].register_forward_pre_hook(lambda _, inputs: seen.append(type(inputs[0])))
    _same_training(s, parallel, _batch(s))
    assert seen == [DTensor]


CHECKS: dict[str, Callable[[Subject], None]] = {
    "DTensor": dtensor,
    "DDP": data_parallel,
    "FSDP2": fully_sharded,
    "tensor parallel": tensor_parallel,
    "tensor parallel, DTensors": tensor_parallel_dtensors,
}


def main(arguments: Sequence[str]) -> int:
    """Run every check of every activation in this process; the first process prints. 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--package", default="generated")
    parser.add_argument("--only", default="", metavar="NAME,...", help="these activations alone")
    chosen = parser.parse_args(arguments)
    rank, world = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    on_gpus = torch.cuda.device_count() >= world
    if on_gpus:
        torch.cuda.set_device(rank)
    # Where one process fails alone, the others wait for it: not for the half hour that is PyTorch's default.
    dist.init_process_group("nccl" if on_gpus else "gloo", timeout=timedelta(seconds=60))
    try:
        device = f"cuda:{rank}" if on_gpus else "cpu"
        subjects = load(chosen.package, device, [name for name in chosen.only.split(",") if name])
        failures = 0
        for name, check in CHECKS.items():
            wrong = [f"{who}: {text}" for who, text in each(check)(subjects).items() if text]
            failures += len(wrong)
            print(
                f"{name}, process {rank} of {dist.get_world_size()} ({dist.get_backend()}): "
                f"{len(subjects)} activations, {len(wrong)} wrong",
                *wrong,
                sep="\n  ",
                flush=True,
            )
        return 1 if failures else 0
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
