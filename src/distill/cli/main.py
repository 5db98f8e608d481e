"""The installed command ``distill <command> ...``, also ``python -m distill <command> ...``."""

import sys
from importlib import import_module
from pathlib import Path

from distill.cli import completion
from distill.cli.commands import HELP, fail, one_line_errors, show
from distill.utils.errors import nearest
from distill.utils.invocation import INSTALLED

COMMANDS = {
    "train": "trains a teacher, distils it into a student, compares the two; -m: a sweep",
    "evaluate": "evaluates the student of a finished run beside its teacher",
    "compare": "shows several finished runs side by side",
    "report": "shows what a sweep found, at any time",
    "watch": "shows a run or a sweep in the browser while it runs",
    "export": "exports the student of a finished run: ONNX, torch.export, safetensors, int8",
    "push": "writes the exported student of a finished run to the Hugging Face Hub",
    "predict": "predictions for images or texts by the student of a finished run",
    "methods": "lists what kd= takes, with a line each",
    "table": "several runs as one Markdown table; mean ± std over seeds",
    "doctor": "says what this machine and this installation have: devices, cores, extras, room on the disk",
}


def usage(program: str) -> str:
    """The text of ``--help``; ``program`` is ``distill`` or ``python -m distill``."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {about}" for name, about in COMMANDS.items())
    return f"usage: {program} <command> ...\n\n{commands}\n\n{program} <command> --help says what it takes."


def _complete(arguments: list[str]) -> None:
    """What Hydra does of a program, of the commands of this one."""
    command = "train"
    if completion.is_query(arguments):
        named = completion.command_of_line(COMMANDS)
        if named is None:
            show(" ".join(name for name in COMMANDS if name.startswith(completion.last_word())))
            return
        command = named
        completion.without_command(command)
    import_module(f"distill.cli.{command}").main()


def main() -> None:
    """Runs the command that the first argument names; a module of this package with its name has its ``main``."""
    program = INSTALLED[Path(sys.argv[0]).name == "__main__.py"]
    command, arguments = (sys.argv[1:2] or HELP)[0], sys.argv[2:]
    with one_line_errors():
        if command in HELP:
            show(usage(program))
            return
        if command in completion.FLAGS:
            _complete(sys.argv[1:])
            return
        if command not in COMMANDS:
            fail(f"there is no command '{command}'; {nearest(command, COMMANDS, shown=len(COMMANDS))}")
        sys.argv = [f"{program} {command}", *arguments]
        import_module(f"distill.cli.{command}").main()
