"""FSDP2 (torch's ``fully_shard``) as a Lightning strategy, for a student too large for one device."""

import copy
import logging
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

log = logging.getLogger(__name__)

UNIT = 1_000_000  # parameters from which a block is gathered separately, before its forward and its backward
M = TypeVar("M", bound=nn.Module)


class ShardedStrategy(ModelParallelStrategy):
    """FSDP2: each process holds one shard of every parameter, gradient and optimizer state.

    Sharded copies of student and criterion are trained; afterwards the first process loads the trained weights into the
    original ones. Checkpoints are those of a run in one process: Lightning's own leave out what it cannot number, and
    refuse a parameter that never had a gradient.
    """

    def __init__(self) -> None:
        super().__init__(
            data_parallel_size=distributed.rank_and_world_size()[1],
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
        )
        self._unsharded: tuple[nn.Module, nn.Module] | None = None  # student, criterion
        self._failed = False

    def setup_environment(self) -> None:
        super().setup_environment()
        assert self.lightning_module is not None
        self.lightning_module.configure_model = self.shard  # type: ignore[method-assign]  # Lightning calls it

    def shard(self) -> None:
        if self._unsharded is not None:
            return
        module: Any = self.lightning_module
        self._unsharded = (module.student, module.criterion)
        mesh = self.device_mesh["data_parallel"]
        # Pretraining calls the criterion's forward, not those of its losses: the criterion is one unit.
        _replace_models(module, sharded(module.student, mesh), sharded(module.criterion, mesh, blocks=False))
        if distributed.is_rank_zero():
            local = (p.to_local() if isinstance(p, DTensor) else p for p in module.student.parameters())
            held = sum(p.numel() for p in local) / 1e6
            total = sum(p.numel() for p in self._unsharded[0].parameters()) / 1e6
            log.debug(f"this process holds {held:.3g} M of the {total:.3g} M parameters that are trained")

    def on_validation_start(self) -> None:
        """Broadcast the running statistics of the first process, which writes the checkpoints, as DDP does."""
        module: Any = self.lightning_module
        for part in (module.student, module.criterion):
            distributed.broadcast_tensors(part.buffers())

    def on_exception(self, exception: BaseException) -> None:
        self._failed = True
        super().on_exception(exception)

    def teardown(self) -> None:
        """Restore the module's own student and criterion, in the first process with the trained weights."""
        module: Any = self.lightning_module
        if self._unsharded is not None and not self._failed:
            options = StateDictOptions(full_state_dict=True, cpu_offload=True)
            state = get_model_state_dict(module, options=options)  # empty in the other processes
            self.optimizers = []  # they hold the sharded parameters
            _replace_models(module, *self._unsharded)
            del module.configure_model
            self._unsharded = None
            if distributed.is_rank_zero():
                module.load_state_dict(state)
        super().teardown()

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True  # Lightning calls load_optimizer_state_dict

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The unsharded state, on the CPU of the first process; empty in the others."""
        local = getattr(optimizer, "_optimizer", optimizer).state_dict()  # without Lightning's wrapper
        state = {i: {name: _unshard(value) for name, value in entry.items()} for i, entry in local["state"].items()}
        return {"state": state, "param_groups": local["param_groups"]} if distributed.is_rank_zero() else {}

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        options = StateDictOptions(full_state_dict=True, strict=strict)
        assert self.lightning_module is not None
        set_model_state_dict(self.lightning_module, dict(checkpoint["state_dict"]), options=options)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            state = {
                i: {name: _shard_like(value, parameters[i]) for name, value in entry.items()}
                for i, entry in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": state})


def _replace_models(module: Any, student: nn.Module, criterion: nn.Module) -> None:
    module.student, module.criterion = student, criterion
    module.extractor = module.extractor.move_to(student)


def _unshard(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    full = value.full_tensor() if isinstance(value, DTensor) else value  # a collective: all processes take part
    return full.cpu() if distributed.is_rank_zero() else None


def _shard_like(value: Any, parameter: Tensor) -> Any:
    """This process's shard of a tensor that is as large as its parameter; anything else as it is."""
    if not (isinstance(value, Tensor) and isinstance(parameter, DTensor) and value.shape == parameter.shape):
        return value
    on_device = value.to(parameter.device_mesh.device_type)
    return distribute_tensor(on_device, parameter.device_mesh, parameter.placements, src_data_rank=None)


def units(model: nn.Module) -> list[nn.Module]:
    """The blocks of a model that are gathered separately, inner ones first; the rest is gathered with the model.

    A block is a module with submodules that is called: not a single layer, whose parent may read its weights without
    calling it (as attention does), nor a ``Sequential``, whose layers may be called one by one.

    Example:
        >>> units(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
        []
    """
    blocks: list[nn.Module] = []

    def remaining_parameters(module: nn.Module) -> int:
        """Number of parameters outside of the blocks below; may append the module to ``blocks``."""
        children = sum(map(remaining_parameters, module.children()))
        count = sum(p.numel() for p in module.parameters(recurse=False)) + children
        called = type(module).forward is not nn.Module.forward and not isinstance(module, nn.Sequential)
        if module is model or count < UNIT or not called or not any(True for _ in module.children()):
            return count
        blocks.append(module)
        return 0

    remaining_parameters(model)
    return blocks


def sharded(model: M, mesh: DeviceMesh, blocks: bool = True) -> M:
    """A copy of a model that computes the same and holds one shard of each parameter in this process.

    Args:
        model: is not changed.
        mesh: of the processes.
        blocks: gather its blocks (see ``units``) separately; else the model is one unit.

    Raises:
        UserError: a parameter without dimensions, which cannot be sharded.
    """
    scalar = next((name for name, p in model.named_parameters() if p.dim() == 0), None)
    if scalar is not None:
        raise UserError(f"trainer.strategy=fsdp cannot share out the parameter '{scalar}', a single number")
    replica = copy.deepcopy(model)
    for parameter in replica.parameters():  # FSDP has no channels_last
        parameter.data = parameter.data.contiguous()
    inner = units(replica) if blocks and not _tied(replica) else []
    for module in [*inner, cast(nn.Module, replica)]:
        fully_shard(module, mesh=mesh)
    return replica


def _tied(model: nn.Module) -> bool:
    """Whether a parameter is shared by two modules: in two units it would become two."""
    return len(list(model.named_parameters(remove_duplicate=False))) > len(list(model.named_parameters()))
