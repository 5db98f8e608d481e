"""``distill methods`` lists what ``kd=`` takes, with a line each."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from distill.cli.commands import launch, show as show_text
from distill.config import CONF
from distill.config.options import arg
from distill.utils.errors import UserError

ABOUT = """
Lists what kd= takes, with the first line of each YAML file.

  {command}
  {command} config_dir=my_configs
"""


@dataclass
class Options:
    """The keys of ``distill methods``."""

    config_dir: str | None = arg("a folder with YAML files of your own, whose kd/*.yaml are listed too", None)


def methods(config_dir: str | None = None) -> dict[str, str]:
    """Name and first line of every option of the group ``kd``, of those in a folder of one's own as well.

    Raises:
        UserError: there is no such folder.
    """
    if config_dir is not None and not Path(config_dir).is_dir():
        raise UserError(f"config_dir: there is no folder {config_dir}")
    folders = [Path(config_dir), CONF] if config_dir else [CONF]
    files = [file for folder in folders for file in sorted((folder / "kd").glob("*.yaml"))]
    return {file.stem: file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for file in files}


def show(options: Options) -> None:
    """Prints the list."""
    lines = methods(options.config_dir)
    width = max(map(len, lines))
    show_text("\n".join(f"{name:<{width}}  {line}" for name, line in lines.items()))


main = partial(launch, Options, show, ABOUT)
