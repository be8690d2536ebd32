"""Marks what holdfast.css has to know of the width of code and of tables, as the style sheet cannot count letters.

- `long` code has a word that may be broken anywhere. All other words of code stay whole: a browser would break
  `--quiet` behind its hyphens.
- A `long` cell has such code in it.
- A `wide` table has more columns than a narrow page has room for, of which some have sentences or long code. There it
  keeps its width, and scrolls.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes

WORD = 24
"""Letters of code that have room in a column of a table on a telephone."""
SENTENCE = 60


def mark(app: Any, doctree: nodes.document) -> None:
    for code in doctree.findall(nodes.literal):
        if any(len(word) > WORD for word in code.astext().split()):
            code["classes"].append("long")
            for cell in [above for above in parents(code) if isinstance(above, nodes.entry)]:
                cell["classes"].append("long")
    for table in doctree.findall(nodes.table):
        columns = [*zip(*(row.children for row in table.findall(nodes.row)), strict=True)]
        full = [column for column in columns if any(is_full(cell) for cell in column)]
        if (len(columns) > 2 and len(full) > 1) or (len(columns) > 3 and full):
            table["classes"].append("wide")


def is_full(cell: nodes.Element) -> bool:
    return "long" in cell["classes"] or len(cell.astext()) > SENTENCE


def parents(node: nodes.Element) -> list[nodes.Element]:
    return [] if node.parent is None else [node.parent, *parents(node.parent)]


def setup(app: Any) -> dict[str, bool]:
    app.connect("doctree-read", mark)
    return {"parallel_read_safe": True}
