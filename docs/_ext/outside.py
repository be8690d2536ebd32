"""Links to files beside docs/, which GitHub follows as they are: to the page that includes the file, or a download."""

from __future__ import annotations

import re
from typing import Any

PAGES = {"../CHANGELOG.md": "changelog.md", "../CONTRIBUTING.md": "contributing.md", "../README.md": "index.md"}
LINK = re.compile(r"\]\(((?:\.\./)+[^)#\s]+\.md)(#[^)\s]*)?\)")


def inside(link: re.Match[str]) -> str:
    file, anchor = link[1], link[2] or ""
    ups, _, name = file.rpartition("../")
    page = PAGES.get(f"../{name}")
    if page:
        return f"]({ups}{page}{anchor})"
    return f"](<path:{file}>)"


def read(app: Any, name: str, content: list[str]) -> None:
    depth = name.count("/") + 1
    outside = re.compile(rf"\]\((?=(?:\.\./){{{depth}}})")
    if outside.search(content[0]):
        content[0] = LINK.sub(lambda link: inside(link) if link[1].count("../") >= depth else link[0], content[0])


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
