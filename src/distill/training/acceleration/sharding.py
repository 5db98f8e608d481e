"""A student too large for one device: its weights, gradients and optimizer state are spread over the processes.

torch's ``fully_shard`` (FSDP2) under Lightning's ``ModelParallelStrategy``.
"""

import copy
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from distill.utils import distributed
from distill.utils.errors import UserError

UNIT = 1_000_000  # parameters from which a block is gathered by itself, before its forward and its backward
M = TypeVar("M", bound=nn.Module)


class ShardedStrategy(ModelParallelStrategy):
    """All processes share what each of them would hold under DDP.

    Checkpoints are those of a run in one process: Lightning's own leave out what it cannot number, and refuse a
    parameter that never had a gradient.
    """

    def __init__(self) -> None:
        super().__init__(
            data_parallel_size=distributed.rank_and_world_size()[1],
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
        )

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Lightning calls ``load_optimizer_state_dict``."""
        return True

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """As of one process, whole, on the CPU of the first one; the others' are empty."""
        plain = getattr(optimizer, "_optimizer", optimizer).state_dict()  # without Lightning's wrapper
        state = {
            number: {name: _whole(value) for name, value in kept.items()} for number, kept in plain["state"].items()
        }
        return {"state": state, "param_groups": plain["param_groups"]} if distributed.is_rank_zero() else {}

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """The file, in every process."""
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Each process keeps its part."""
        options = StateDictOptions(full_state_dict=True, strict=strict)
        assert self.lightning_module is not None
        set_model_state_dict(self.lightning_module, dict(checkpoint["state_dict"]), options=options)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Each process keeps its part of what belongs to a sharded parameter."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            state = {
                number: {name: _part(value, parameters[number]) for name, value in kept.items()}
                for number, kept in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": state})


def _whole(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    whole = value.full_tensor() if isinstance(value, DTensor) else value  # all processes take part
    return whole.cpu() if distributed.is_rank_zero() else None


def _part(value: Any, parameter: Tensor) -> Any:
    """What belongs to a process, of a tensor that is as large as its parameter."""
    if not (isinstance(value, Tensor) and isinstance(parameter, DTensor) and value.shape == parameter.shape):
        return value
    place = parameter.device_mesh.device_type
    return distribute_tensor(value.to(place), parameter.device_mesh, parameter.placements, src_data_rank=None)


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


def sharded(model: M, mesh: DeviceMesh, blocks: bool = True) -> M:
    """A copy of a model that computes the same and holds one part of each parameter here.

    Args:
        model: stays as it is.
        mesh: of the processes.
        blocks: whether its blocks are gathered by themselves; else all of it is gathered at once.

    Raises:
        UserError: a parameter without dimensions, which cannot be shared out.
    """
    scalar = next((name for name, p in model.named_parameters() if p.dim() == 0), None)
    if scalar is not None:
        raise UserError(f"trainer.strategy=fsdp cannot share out the parameter '{scalar}', a single number")
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():  # FSDP has no channels_last
        parameter.data = parameter.data.contiguous()
    inner = units(twin) if blocks and not _tied(twin) else []
    for module in [*inner, cast(nn.Module, twin)]:
        fully_shard(module, mesh=mesh)
    return twin


def _tied(model: nn.Module) -> bool:
    """Whether a parameter has two places: in two units it would become two."""
    return len(list(model.named_parameters(remove_duplicate=False))) > len(list(model.named_parameters()))


def held(model: nn.Module) -> int:
    """Parameters of a sharded model that this process holds."""
    return sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in model.parameters())


def whole_state(module: nn.Module) -> dict[str, Any]:
    """``state_dict`` of a module with sharded parts, whole, on the CPU of the first process; the others' are empty."""
    return get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
