"""A student too large for one device: its weights, gradients and optimizer state are spread over the processes.

torch's ``fully_shard`` (FSDP2) under Lightning's ``ModelParallelStrategy``: one file per checkpoint, as of a run in one
process.
"""

import copy
from typing import Any, TypeVar, cast

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from distill import ranks

UNIT = 1_000_000  # parameters from which a block is gathered by itself, before its forward and its backward
M = TypeVar("M", bound=nn.Module)


def strategy() -> ModelParallelStrategy:
    """All processes share what each of them would hold under DDP."""
    return ModelParallelStrategy(
        data_parallel_size=ranks.place()[1], tensor_parallel_size=1, save_distributed_checkpoint=False
    )


def units(model: nn.Module) -> list[nn.Module]:
    """The blocks of a model that are gathered by themselves, inner ones first; all that is left is the model's own.

    A block has a forward of its own and modules in it. A layer alone is none: its parent may read its weights without
    calling it, as attention does; nor is a ``Sequential``, which may be walked through.

    Example:
        >>> units(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
        []
    """
    found: list[nn.Module] = []

    def parameters(module: nn.Module) -> int:
        """Of a module, without those of the units in it; may make it a unit."""
        own = sum(p.numel() for p in module.parameters(recurse=False)) + sum(map(parameters, module.children()))
        called = type(module).forward is not nn.Module.forward and not isinstance(module, nn.Sequential)
        if module is model or own < UNIT or not called or not any(True for _ in module.children()):
            return own
        found.append(module)
        return 0

    parameters(model)
    return found


def sharded(model: M, mesh: DeviceMesh) -> M:
    """A copy of a model that computes the same and holds one part of each parameter here."""
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():  # FSDP has no channels_last
        parameter.data = parameter.data.contiguous()
    for module in [*units(twin), cast(nn.Module, twin)]:
        fully_shard(module, mesh=mesh)
    return twin


def held(model: nn.Module) -> int:
    """Parameters of a sharded model that this process holds."""
    return sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in model.parameters())


def whole_state(module: nn.Module) -> dict[str, Any]:
    """``state_dict`` of a module with sharded parts, whole, on the CPU of the first process; the others' are empty."""
    return get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
