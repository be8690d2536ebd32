"""Draws the pictures of the manual: `make pictures`.

A picture is written as Mermaid, in a fence of a page, and GitHub draws it from that. The manual shows it as two files
of docs/pictures/, a light and a dark one, which need no network and no JavaScript. They are drawn here, when the fence
or the style has changed, and committed with the page. Each file holds the digest of what it was drawn from.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pictures"
FENCE = re.compile(r"^( *)(`{3,})mermaid\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)

# How they are drawn. Whoever changes this draws all of them anew.

LIGHT = {
    "background": "#ffffff",
    "textColor": "#1c1e1d",
    "primaryTextColor": "#1c1e1d",
    "primaryColor": "#e6f2ed",
    "primaryBorderColor": "#0b6e4f",
    "lineColor": "#4a4f4c",
    "signalColor": "#4a4f4c",
    "actorLineColor": "#9aa19d",
    "clusterBkg": "#f5f6f5",
    "clusterBorder": "#b7bdb9",
    "noteBkgColor": "#fff4cf",
    "noteBorderColor": "#b99a2e",
    "noteTextColor": "#1c1e1d",
}
DARK = {
    "background": "#131416",
    "textColor": "#e4e6e5",
    "primaryTextColor": "#e4e6e5",
    "primaryColor": "#1d3029",
    "primaryBorderColor": "#5fd3a6",
    "lineColor": "#b0b5b2",
    "signalColor": "#b0b5b2",
    "actorLineColor": "#6d7471",
    "clusterBkg": "#1c1e20",
    "clusterBorder": "#4f5552",
    "noteBkgColor": "#3b3417",
    "noteBorderColor": "#a8923f",
    "noteTextColor": "#f2ead0",
}
"""The backgrounds are those of the pages. They are drawn only behind text that a line crosses."""
COLOURS = {"light": LIGHT, "dark": DARK}
FONT = {"fontFamily": "sans-serif", "fontSize": "14px"}


def style(shade: str) -> dict[str, Any]:
    """Mermaid's configuration."""
    colours = COLOURS[shade]
    text, background = colours["textColor"], colours["background"]
    same = {
        "actorBkg": colours["primaryColor"],
        "labelBoxBkgColor": colours["primaryColor"],
        "actorBorder": colours["primaryBorderColor"],
        "labelBoxBorderColor": colours["primaryBorderColor"],
        "edgeLabelBackground": background,
        **dict.fromkeys(["actorTextColor", "labelTextColor", "loopTextColor", "signalTextColor", "titleColor"], text),
    }
    behind = f"paint-order:stroke;stroke:{background}!important;stroke-width:"
    return {
        "theme": "base",
        "themeVariables": {**FONT, **colours, **same, "darkMode": shade == "dark"},
        "themeCSS": f".messageText{{{behind}5px!important}}.loopText,.loopText>tspan{{{behind}3px!important}}",
        "fontFamily": FONT["fontFamily"],
        "deterministicIds": True,
        # Text as HTML is cut off where a font is wider, and some programs do not show it in an image at all.
        "htmlLabels": False,
        "flowchart": {
            "htmlLabels": False,
            "useMaxWidth": False,  # so the file says how large it is
            "nodeSpacing": 20,
            "rankSpacing": 36,
            "padding": 10,
            "wrappingWidth": 320,
            "subGraphTitleMargin": {"top": 4, "bottom": 14},
        },
        "sequence": {
            "useMaxWidth": False,
            "width": 110,
            "height": 44,
            "actorMargin": 24,
            "boxMargin": 6,
            "messageMargin": 28,
            "noteMargin": 10,
            "diagramMarginX": 8,
            "diagramMarginY": 8,
            "actorFontSize": 14,
            "messageFontSize": 14,
            "noteFontSize": 14,
        },
    }


@dataclass(frozen=True)
class Picture:
    """What stands in a fence."""

    source: str

    @classmethod
    def of(cls, text: str) -> Picture:
        return cls(textwrap.dedent(text).strip())

    def said(self, keyword: str) -> str:
        """What the line with this keyword says, which Mermaid reads to people who do not see the picture."""
        found = re.search(rf"^\s*{keyword}: *(\S.*?) *$", self.source, re.MULTILINE)
        if not found:
            raise ValueError(f"a picture takes a line '{keyword}: ...', as the others have it")
        return found[1]

    @property
    def title(self) -> str:
        return self.said("accTitle")

    @property
    def description(self) -> str:
        return self.said("accDescr")

    @property
    def digest(self) -> str:
        """Of the source, and of how it is drawn."""
        drawn = json.dumps([self.source, *map(style, COLOURS)])
        return hashlib.sha256(drawn.encode()).hexdigest()

    def file(self, folder: Path, shade: str) -> Path:
        name = re.sub(r"\W+", "-", self.title.lower()).strip("-")
        return folder / f"{name}.{shade}.svg"

    def is_drawn(self, folder: Path) -> bool:
        """Whether both files are there, and are of this source."""
        files = [self.file(folder, shade) for shade in COLOURS]
        return all(file.exists() and self.digest in file.read_text(encoding="utf-8") for file in files)


def pages() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def pictures() -> Iterator[Picture]:
    """Those of all pages."""
    for page in pages():
        for fence in FENCE.finditer(page.read_text(encoding="utf-8")):
            yield Picture.of(fence[3])


# What Mermaid writes, without what nobody sees: two thirds of it.

SVG = "http://www.w3.org/2000/svg"
AT_RULE = re.compile(r"@[^{]*\{(?:[^{}]*\{[^{}]*\})*\s*\}")
RULE = re.compile(r"([^{}]+)(\{[^{}]*\})")
PERHAPS_UNUSED = {f"{{{SVG}}}{tag}" for tag in ("filter", "linearGradient", "marker", "symbol")}


def without_ballast(text: str) -> str:
    """The same picture without the arrowheads, icons and styles that nothing uses, and without what scripts want."""
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(text)
    for element in root.iter():
        for name, value in [*element.attrib.items()]:
            if name.startswith("data-"):
                del element.attrib[name]
            else:
                element.set(name, re.sub(r"-?\d+\.\d{3,}", lambda number: str(round(float(number[0]), 2)), value))
    classes = {name for element in root.iter() for name in element.get("class", "").split()}
    for sheet in root.iter(f"{{{SVG}}}style"):
        sheet.text = "".join(
            ",".join(kept) + body
            for selectors, body in RULE.findall(AT_RULE.sub("", sheet.text or ""))
            if (kept := [selector for selector in selectors.split(",") if may_match(selector, classes)])
        )
    used = set(re.findall(r"url\(#([^)]+)\)", ElementTree.tostring(root, encoding="unicode")))
    for parent in [*root.iter()]:
        for child in [*parent]:
            is_empty = child.tag == f"{{{SVG}}}g" and not len(child)
            if is_empty or (child.tag in PERHAPS_UNUSED and child.get("id") not in used):
                parent.remove(child)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def may_match(selector: str, classes: set[str]) -> bool:
    """Whether an element that has some of these classes, and is not a script's, may be meant."""
    return classes.issuperset(re.findall(r"\.([\w-]+)", selector)) and not re.search(r"\[data-|:root", selector)


def draw(picture: Picture, mermaid: str, browser: str) -> None:
    # Chromium refuses to be root in its sandbox.
    how = {"executablePath": browser, "args": ["--no-sandbox"] if os.getuid() == 0 else []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "source.mmd").write_text(picture.source, encoding="utf-8")
        (folder / "browser.json").write_text(json.dumps(how))
        for shade in COLOURS:
            (folder / "style.json").write_text(json.dumps(style(shade)))
            files = ["--input", "source.mmd", "--output", "drawn.svg", "--configFile", "style.json"]
            files += ["--puppeteerConfigFile", "browser.json"]
            subprocess.run([mermaid, "--quiet", "--backgroundColor", "transparent", *files], cwd=folder, check=True)
            drawn = without_ballast((folder / "drawn.svg").read_text(encoding="utf-8"))
            made_from = f"<!-- Drawn by `make pictures` from what has the SHA-256 {picture.digest} -->\n"
            picture.file(FOLDER, shade).write_text(made_from + drawn, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mermaid", help="mermaid-cli's command")
    parser.add_argument("browser", help="Chromium, in which it draws")
    parser.add_argument("--all", action="store_true", help="those that have not changed, too")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    needed: set[Path] = set()
    for picture in pictures():
        files = {picture.file(FOLDER, shade) for shade in COLOURS}
        if needed & files:
            parser.error(f"two pictures have the title {picture.title!r}: give one of them another")
        needed |= files
        if arguments.all or not picture.is_drawn(FOLDER):
            sys.stdout.write(f"{picture.title}\n")
            draw(picture, arguments.mermaid, arguments.browser)
    for file in {*FOLDER.iterdir()} - needed:
        file.unlink()


if __name__ == "__main__":
    main()
