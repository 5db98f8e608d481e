"""The pages of the site: those of ``docs`` and of the repository's top, and the one that is made from the schema.

README.md is the site's first page, CONTRIBUTING.md and CHANGELOG.md are pages. Links hold in the repository, and are
changed here to where the pages lie on the site.
"""

import posixpath
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from distill.config import signatures
from docs_site import config_reference

OF_TOP = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(\]\(|<img src=\")([^)#\":\s]+)")
CODE = re.compile(r"^(`{3,}).*?^\1`*$|(?<!`)(`+)(?!`).*?(?<!`)\2(?!`)", re.MULTILINE | re.DOTALL)
configuration = cache(config_reference.page)


def sources(root: Path) -> list[Path]:
    """The files that the site is made of, relative to the repository's folder."""
    inside = (path for path in (root / "docs").rglob("*") if path.is_file())
    return [*map(Path, OF_TOP), *sorted(path.relative_to(root) for path in inside)]


def place(source: str) -> str:
    """Where a file of the repository lies among the pages."""
    return OF_TOP.get(source, source.removeprefix("docs/"))


def with_links_moved(text: str, source: str) -> str:
    """A page whose relative links lead to where their targets lie on the site; what is code stays as it is.

    Args:
        text: the page, in Markdown.
        source: its file, relative to the repository's folder.

    Example:
        >>> with_links_moved("[one](docs/a.md#b), `[x](docs/a.md)`", "README.md")
        '[one](a.md#b), `[x](docs/a.md)`'
        >>> with_links_moved("[two](../../README.md)", "docs/methods/logits.md")
        '[two](../index.md)'
    """
    here = posixpath.dirname(place(source)) or "."

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        return match[1] + posixpath.relpath(place(target), here)

    def parts() -> Iterator[str]:
        end = 0
        for code in CODE.finditer(text):
            yield LINK.sub(moved, text[end : code.start()])
            yield code[0]
            end = code.end()
        yield LINK.sub(moved, text[end:])

    return "".join(parts())


def losses() -> str:
    """The end of the page on the Python interface: every name of ``distill.losses``."""
    return "".join(f"\n::: distill.losses.{name}\n" for name in signatures.names_in("distill.losses"))


def stage(root: Path, target: Path) -> None:
    """Writes the pages into a folder; a file that is as it was is not touched.

    Args:
        root: the repository's folder.
        target: the folder; what it holds besides is removed.
    """
    wanted = {place(str(source)): source for source in sources(root)}
    for name, source in wanted.items():
        content = (root / source).read_bytes()
        if source.suffix == ".md":
            text = with_links_moved(content.decode(), str(source))
            content = (text + losses() if name == "api.md" else text).encode()
        write(target / name, content)
    write(target / "configuration.md", configuration().encode())
    for path in [path for path in target.rglob("*") if path.is_file()]:
        if str(path.relative_to(target)) not in {*wanted, "configuration.md"}:
            path.unlink()


def write(path: Path, content: bytes) -> None:
    """Writes a file that is not yet so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_bytes() != content:
        path.write_bytes(content)


def prepare(root: Path, folder: Path) -> None:
    """Makes a folder in which the site can be built: its configuration, its pages, the package.

    Args:
        root: the repository's folder.
        folder: another one, or the same.
    """
    stage(root, folder / "site" / "pages")
    if folder.resolve() != root.resolve():
        shutil.copy(root / "mkdocs.yml", folder)
        (folder / "src").symlink_to(root / "src")
