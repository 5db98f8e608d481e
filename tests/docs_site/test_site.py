"""The documentation site is built strictly: a link, an anchor, a formula or a place that is wrong ends it."""

import doctest
import re
import shutil

import pytest

from docs_site import formulas, navigation, pages, slugs
from docs_site.__main__ import build
from jobs import ROOT

FAMILIES = ("logits", "features", "relations", "flows")


@pytest.mark.parametrize("module", [formulas, pages, slugs], ids=lambda module: module.__name__)
def test_examples(module):
    assert doctest.testmod(module).failed == 0


def test_the_navigation_has_every_page(tmp_path):
    pages.stage(ROOT, tmp_path)
    assert navigation.faults(ROOT / "mkdocs.yml", tmp_path) == []


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.stem)
def test_formulas_are_rendered(path):
    text = path.read_text()
    assert formulas.faults(text) == []
    if path.stem in FAMILIES:
        assert len(formulas.BLOCK.findall(text)) >= 3


@pytest.mark.parametrize("latex", [r"\undefinedcommand{x}", r"a & b", r"\frac", r"\text{a\_b}"])
def test_a_formula_that_cannot_be_rendered_is_said(latex):
    assert formulas.faults(f"# Page\n\n```math\n{latex}\n```\n")


@pytest.fixture
def small(tmp_path):
    """A repository of four pages."""
    root = tmp_path / "root"
    (root / "docs" / "assets").mkdir(parents=True)
    (root / "src").symlink_to(ROOT / "src")
    for name in pages.OF_TOP:
        (root / name).write_text(f"# {name}\n")
    (root / "docs" / "a.md").write_text("# A\n\n[home](../README.md)\n\n## B → C\n\n```math\nT^2\n```\n")
    for asset in (ROOT / "docs" / "assets").iterdir():
        shutil.copy(asset, root / "docs" / "assets")
    config = (ROOT / "mkdocs.yml").read_text()
    nav = "nav: [index.md, contributing.md, changelog.md, configuration.md, a.md]\n\n"
    (root / "mkdocs.yml").write_text(re.sub(r"^nav:\n.*?\n\n", nav, config, flags=re.DOTALL | re.MULTILINE))
    return root


def small_build(root, monkeypatch):
    monkeypatch.setattr(pages, "configuration", lambda: "# Configuration\n")
    return build(root, root)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("", None),
        ("[here](a.md#b--c), [and](../CHANGELOG.md)", None),
        ("[nowhere](b.md)", "page does not exist"),
        ("[nowhere](../README.md#install)", "anchor"),
        ("```math\n\\nothing{x}\n```", "nothing"),
        ("::: distill.nothing", "distill.nothing"),
    ],
    ids=["right", "links", "page", "anchor", "formula", "reference"],
)
def test_what_is_wrong_ends_the_build(small, added, said, monkeypatch, capfd):
    page = small / "docs" / "a.md"
    page.write_text(f"{page.read_text()}\n{added}\n")
    status = small_build(small, monkeypatch)
    output = "".join(capfd.readouterr())
    assert (status == 0) == (said is None), output
    if said is None:
        assert "<math" in (small / "site" / "html" / "a.html").read_text()
        assert 'href="index.html"' in (small / "site" / "html" / "a.html").read_text()
    else:
        assert said in output


@pytest.mark.slow
def test_a_page_outside_the_navigation_ends_the_build(small, monkeypatch, capfd):
    (small / "docs" / "lost.md").write_text("# Lost\n")
    assert small_build(small, monkeypatch) == 1
    assert "error: mkdocs.yml: nav lacks lost.md" in capfd.readouterr().err


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    assert build(ROOT, folder) == 0
    return folder / "site" / "html"


@pytest.mark.slow
def test_the_site(site):
    for name in FAMILIES:
        page = (site / "methods" / f"{name}.html").read_text()
        assert page.count("<math") == len(
            formulas.BLOCK.findall((ROOT / "docs" / "methods" / f"{name}.md").read_text())
        )
    configuration = (site / "configuration.html").read_text()
    assert "<code>cache.max_gb</code>" in configuration
    interface = (site / "api.html").read_text()
    assert all(f'id="distill.losses.{name}"' in interface or f'.{name}"' in interface for name in ("kd_loss", "DKD"))
    assert "distill.train" in interface
    for page in site.rglob("*.html"):  # nothing is fetched from elsewhere
        text = page.read_text()
        assert not re.findall(r"<(?:script|img|iframe)[^>]*\bsrc=\"?(?:https?:)?//", text), page
        assert not re.findall(r"<link[^>]*rel=\"?(?:stylesheet|preconnect|icon)\"?[^>]*href=\"?(?:https?:)?//", text), (
            page
        )


@pytest.mark.slow
def test_the_search_works_from_disk_without_network(site, browser):
    context = browser.new_context(offline=True)
    page = context.new_page()
    failed = []
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.goto((site / "index.html").as_uri(), timeout=120_000)
    page.click(".md-search__button")
    page.wait_for_function("() => !document.body.innerText.includes('Loading search')", timeout=120_000)
    page.keyboard.insert_text("paraphraser")  # at once: the field keeps no pace with keys without a pause
    page.wait_for_selector("a[href*='methods/features.html']:visible", timeout=120_000)
    context.close()
    assert not failed
