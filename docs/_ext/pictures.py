"""Puts the pictures that `make pictures` has drawn, in docs/pictures/, in the place of their Mermaid fences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from draw_pictures import COLOURS, Picture
from sphinx.util.docutils import SphinxDirective


class Mermaid(SphinxDirective):
    has_content = True

    def run(self) -> list[nodes.Node]:
        picture = Picture.of("\n".join(self.content))
        folder = Path(self.env.srcdir, "pictures")
        try:
            files = {shade: picture.file(folder, shade) for shade in COLOURS}
            box = nodes.container(classes=["picture"])
            for shade, file in files.items():
                self.env.note_dependency(str(file))
                # Furo shows the one that goes with the page.
                box += nodes.image(uri=f"/pictures/{file.name}", alt=picture.description, classes=[f"only-{shade}"])
        except ValueError as error:
            raise self.error(str(error)) from None
        if not picture.is_drawn(folder):
            raise self.error(f"'{picture.title}' has changed since it was drawn: run `make pictures`, and commit")
        return [box]


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True}
