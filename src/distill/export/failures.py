"""The operator or module that an exporter failed on, in one line."""

import re
from types import TracebackType

import torch
from torch import nn

from distill.utils.errors import first_line

_OPERATOR = re.compile(r"OpOverload\(op='([\w.:]+)'(?:, overload='(\w+)')?\)")


def _chain(error: BaseException) -> list[BaseException]:
    errors = [error]
    while (cause := errors[-1].__cause__ or errors[-1].__context__) is not None and cause not in errors:
        errors.append(cause)
    return errors


def _innermost(traceback: TracebackType | None, paths: dict[int, str]) -> str | None:
    """Path of the innermost module whose forward was running."""
    deepest = None
    while traceback is not None:
        deepest = paths.get(id(traceback.tb_frame.f_locals.get("self")), deepest)
        traceback = traceback.tb_next
    return deepest


def _owner(program: torch.export.ExportedProgram, operator: str) -> str | None:
    """Path of the module that called an operator."""
    name = operator.replace("::", ".")
    for target in (name, name.rpartition(".")[2]):  # the exporter may have decomposed aten.special_x into prims.x
        for node in program.graph.nodes:
            if node.op == "call_function" and target in str(node.target):
                stack = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
                return stack[-1] if stack else None
    return None


def _named(model: nn.Module, path: str | None) -> str:
    """A module's path in the student and its class."""
    if path is None:
        return "a module that could not be found"
    path = re.sub(r"\.slice\(.*?\)", "", path)
    class_name = type(model.get_submodule(path)).__name__
    inner = path.removeprefix("model").removeprefix(".")
    return f"module '{inner}' ({class_name})" if inner else f"the student itself ({class_name})"


def reason(error: Exception, model: nn.Module, program: torch.export.ExportedProgram | None = None) -> str:
    """Names operator and module, as far as they are known.

    Args:
        error: of the exporter.
        model: the exported model; "model." before a path is left out.
        program: its graph, if it was captured.
    """
    chain = _chain(error)
    if program is not None:
        for link in chain:
            if match := _OPERATOR.search(str(link)):
                operator = match[1]
                caller = _named(model, _owner(program, operator))
                return f"operator {operator} has no ONNX counterpart; it is called by {caller}"
    paths = {id(module): path for path, module in model.named_modules()}
    innermost = next((p for p in (_innermost(link.__traceback__, paths) for link in chain) if p is not None), None)
    message = first_line(chain[0]).removesuffix(".")[:200]
    return f"{message}; in {_named(model, innermost)}"
