"""Every link of the manual, of README.md and of its kin leads to a file or a heading, and no line is lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
CODE = re.compile(r"^( *)(`{3,}).*?^\1\2`*$|`[^`\n]+`|<!--.*?-->", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(<?([^()\s>]+)>?(?: \"[^\"]*\")?\)|^\[[^\]]+\]: (\S+)$", re.MULTILINE)


def slugs(path: Path) -> set[str]:
    """The anchors that GitHub and MyST give to the headings of a page."""
    found: dict[str, int] = {}
    names = set()
    text = re.sub(r"^( *)(`{3,}).*?^\1\2`*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.+?)\s*$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        names.add(slug if count == 0 else f"{slug}-{count}")
    return names | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links(page):
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    for one, other in LINK.findall(text):
        link = one or other
        if re.match(r"[a-z]+:", link):
            assert link.startswith(("https://", "http://", "mailto:")), link
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_relative_to(ROOT), link
        if target.is_relative_to(SOURCE) and not SOURCE.is_dir():
            continue  # it is not at hand: a wheel is tested
        assert target.exists(), f"{link}: there is no {target.relative_to(ROOT)}"
        if anchor and target.suffix == ".md":
            assert anchor in slugs(target), f"{link}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_line_begins_as_a_comment_does(page):
    """MyST leaves out a line that begins with a percent sign, as where `5 %` is broken into two lines."""
    assert not re.search(r"^ *%", CODE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
