"""Builds the site into ``site/html``, or serves it and builds what changes: ``python -m docs_site build``, ``serve``.

Every link, anchor and reference must lead somewhere, every page be in the navigation, and every formula be one.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from docs_site import formulas, navigation, pages

ROOT = Path(__file__).parents[2]


def check(folder: Path) -> list[str]:
    """What is wrong with the pages and cannot be said by Zensical."""
    found = navigation.faults(folder / "mkdocs.yml", folder / "site" / "pages")
    for path in sorted((folder / "site" / "pages").rglob("*.md")):
        found += [f"{path.name}: {fault}" for fault in formulas.faults(path.read_text(encoding="utf-8"))]
    return found


def zensical(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Starts Zensical in a folder that was prepared."""
    paths = [str(ROOT / "tools"), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "zensical", *arguments, "-f", str(folder / "mkdocs.yml")]
    return subprocess.Popen(command, cwd=folder, env=environment)


def build(root: Path = ROOT, folder: Path = ROOT) -> int:
    """Builds the site.

    Args:
        root: the repository's folder.
        folder: where ``site`` is made.

    Returns:
        The exit status: not 0 where anything is wrong with it.
    """
    pages.prepare(root, folder)
    if faults := check(folder):
        print("\n".join(f"error: {fault}" for fault in faults), file=sys.stderr)
        return 1
    status = zensical(folder, "build", "--clean", "--strict").wait()
    if status == 0:
        print(f"the site: {(folder / 'site' / 'html' / 'index.html').resolve()}")
    return status


def serve() -> int:
    """Serves the site on this machine until Ctrl-C; a page that changes is shown anew."""
    pages.prepare(ROOT, ROOT)
    server = zensical(ROOT, "serve")
    try:
        while server.poll() is None:
            time.sleep(1)
            pages.stage(ROOT, ROOT / "site" / "pages")
    except KeyboardInterrupt:
        server.wait()
    return server.returncode


if __name__ == "__main__":
    sys.exit({"build": build, "serve": serve}[sys.argv[1]]())
