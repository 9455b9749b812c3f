"""Links between pages lead somewhere, every page is linked, and the code names pages that exist."""

from __future__ import annotations

import re
from pathlib import Path

import doc_blocks
import pytest

import pytest_marketreplay

_PACKAGE = Path(pytest_marketreplay.__file__).parent


@pytest.mark.parametrize("page", doc_blocks.PAGES, ids=lambda page: str(page.relative_to(doc_blocks.ROOT)))
def test_every_link_of_the_page_leads_somewhere(page: Path) -> None:
    """A relative link names a file, and an anchor a heading of it."""
    broken = []
    for link in doc_blocks.links(page):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in doc_blocks.anchors(target)):
            broken.append(link)
    assert not broken, f"{page.relative_to(doc_blocks.ROOT)}: {broken}"


def test_every_page_is_linked_from_the_index() -> None:
    """Nobody finds a page that the index does not name."""
    docs = doc_blocks.ROOT / "docs"
    linked = {(docs / link.partition("#")[0]).resolve() for link in doc_blocks.links(docs / "index.md")}
    pages = {page.resolve() for page in docs.rglob("*.md")} - {(docs / "index.md").resolve()}
    assert sorted(pages - linked) == []


def test_every_page_that_the_code_names_exists() -> None:
    """Docstrings and error texts send people to pages, and to headings of them."""
    missing = []
    for file in sorted(_PACKAGE.rglob("*.py")):
        source = file.read_text(encoding="utf-8")
        for name in re.findall(r"docs/[\w/-]+\.md", source):
            if not (doc_blocks.ROOT / name).exists():
                missing.append(f"{file.name}: {name}")
        headings = doc_blocks.anchors(doc_blocks.ROOT / "docs/reference/format.md")
        for heading in re.findall(r'\(format, "([^"]+)"\)', source):
            if heading.lower().replace(" ", "-") not in headings:
                missing.append(f"{file.name}: format, {heading!r}")
    assert not missing


def test_no_page_names_a_machine_or_an_address_outside() -> None:
    """Examples use loopback, documented hosts of exchanges, and names that are reserved for examples."""
    for page in doc_blocks.PAGES:
        assert not re.search(r"(?<![\w.])/(work|tmp|home|root)/", page.read_text(encoding="utf-8")), page
