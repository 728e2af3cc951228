"""The only file that talks to other processes. A loss is the *sum* of what the processes return."""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmssl.types import tree_leaves, tree_map


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mine = slice(rank() * len(x), (rank() + 1) * len(x))
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous().clone()
        dist.all_reduce(grad)
        return grad[ctx.mine]


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous().clone()
        dist.all_reduce(grad)
        return grad


def total(x: Tensor) -> Tensor:
    """Sum over the processes, differentiable."""
    return x if world_size() == 1 else cast(Tensor, _Total.apply(x))


def gather(tree: Any) -> Any:
    """All rows of all processes in rank order, differentiable; every process has to bring equally many.

    One message for each dtype. The gradient of a row is what all processes together ask of it.
    """
    if world_size() == 1:
        return tree
    own = tree_leaves(tree)
    out: dict[int, Tensor] = {}
    for dtype in sorted({x.dtype for x in own}, key=str):
        some = {i: x for i, x in enumerate(own) if x.dtype == dtype}
        packed = torch.cat([x.reshape(len(x), -1) for x in some.values()], dim=1)
        parts = cast(Tensor, _Gather.apply(packed)).split([x[0].numel() for x in some.values()], dim=1)
        out |= {i: part.reshape(-1, *x.shape[1:]) for (i, x), part in zip(some.items(), parts, strict=True)}
    found = (out[i] for i in range(len(own)))
    return tree_map(lambda _: next(found), tree)


def sum_gradients(parameters: list[nn.Parameter], *, bucket: int = 2**22) -> None:
    """Adds every parameter's gradient over the processes, `bucket` numbers a message.

    Takes the place of DistributedDataParallel, which fails or is silently wrong where a parameter is unused in one
    process or a tower runs in chunks. A parameter without gradient here counts as 0.
    """
    if world_size() == 1:
        return
    for p in parameters:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    waiting = list(parameters)
    while waiting:
        some = [waiting.pop(0)]
        size = some[0].numel()
        while waiting and size + waiting[0].numel() <= bucket and waiting[0].dtype == some[0].dtype:
            some.append(waiting.pop(0))
            size += some[-1].numel()
        flat = torch.cat([cast(Tensor, p.grad).flatten() for p in some])
        dist.all_reduce(flat)
        for p, grad in zip(some, flat.split([p.numel() for p in some]), strict=True):
            cast(Tensor, p.grad).copy_(grad.view_as(p))


def first_says(value: float, device: torch.device) -> float:
    """Rank 0's number, on every process."""
    if world_size() == 1:
        return value
    said = torch.tensor([value], dtype=torch.float64, device="cpu" if dist.get_backend() == "gloo" else device)
    dist.broadcast(said, src=0)
    return float(said)


def wait() -> None:
    """Until every process is here."""
    if world_size() > 1:
        dist.barrier()


def on_first(job: Callable[[], None]) -> None:
    """Done by rank 0 while the others wait; what it raises ends them all."""
    if rank() == 0:
        job()
    wait()


class BatchNorm(nn.Module):
    """Batch norm with the statistics of all processes, for heads that are thrown away (no running statistics).

    torch's SyncBatchNorm does not exist on CPU.
    """

    def __init__(self, width: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width)), eps

    def forward(self, x: Tensor) -> Tensor:  # [B, C]
        n = len(x) * world_size()
        x = x - total(x.sum(0)) / n
        return x / (total(x.square().sum(0)) / n + self.eps).sqrt() * self.weight + self.bias
