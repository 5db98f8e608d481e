"""``distill watch <folder>`` shows a run or a sweep in the browser while it runs."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from distill.cli.commands import launch
from distill.config.options import arg
from distill.utils.errors import UserError, check_range

ABOUT = """
Shows a run or a sweep while it runs: progress, failures, the best so far, the time left. It reads what lies in the
folder and changes nothing; Ctrl-C ends it.

  {command} outputs/sweeps/2026-01-31/12-00-00
  {command} outputs/2026-01-31/12-00-00 port=8000
"""


@dataclass
class Options:
    """The keys of ``distill watch``."""

    folder: list[str] = arg("the folder of a run or a sweep; also without folder=", [])
    host: str = arg("the address to listen on; another one than this machine's own shows the page to the network",
                    "127.0.0.1")  # fmt: skip
    port: int = arg("the port; 0: a free one", 0)
    every: float = arg("seconds between two refreshes", 2.0)


def watch(options: Options) -> None:
    """Serves the page until Ctrl-C.

    Raises:
        UserError: not one folder, one that is none, an address that cannot be listened on.
    """
    if len(options.folder) != 1:
        raise UserError(f"give the folder of one run or sweep, got {len(options.folder) or 'none'}")
    check_range("port", options.port, 0, 65535)
    check_range("every", options.every, 0.2)
    from distill.sweeps.watch.server import Server

    with Server(Path(options.folder[0]), options.host, options.port, options.every) as server:
        print(f"{options.folder[0]} is shown at {server.url} (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nno longer watched", flush=True)


main = partial(launch, Options, watch, ABOUT, rest="folder")
