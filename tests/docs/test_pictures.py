"""Each Mermaid fence of the manual has its pictures in docs/pictures/, which `make pictures` has drawn from it."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
EXTENSIONS = ROOT / "docs" / "_ext"
FOLDER = ROOT / "docs" / "pictures"
FILES = sorted(FOLDER.iterdir())
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawing():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXTENSIONS))
        yield importlib.import_module("draw_pictures")


def test_each_fence_has_its_pictures_and_none_is_left_over(drawing):
    pictures = [*drawing.pictures()]
    assert len(pictures) == sum(page.read_text(encoding="utf-8").count("```mermaid\n") for page in drawing.pages())
    assert not [picture.title for picture in pictures if not picture.is_drawn(FOLDER)], "run `make pictures`"
    needed = {picture.file(FOLDER, shade) for picture in pictures for shade in drawing.COLOURS}
    assert len(needed) == 2 * len(pictures), "two pictures have one title"
    assert {*FILES} == needed, "run `make pictures`"


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_a_picture_needs_nothing_beside_it(file):
    text = file.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert not tags & {"foreignObject", "image", "script", "use"}, "a browser may not show this in an image"
    assert float(root.attrib["width"]) > 0
    assert float(root.attrib["height"]) > 0
    assert not re.search(r"https?:(?!//www\.w3\.org/)|file:|@import|@font-face|url\((?!#)", text.replace("redis:", ""))
    assert set(re.findall(r"font-family[:=] ?\"?([^;\"}]*)", text)) == {"sans-serif"}


@pytest.mark.parametrize("changed", [False, True])
def test_a_picture_stands_in_the_place_of_its_fence_unless_that_has_changed(drawing, tmp_path, changed):
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_parser")
    picture = next(drawing.pictures())
    (tmp_path / "pictures").mkdir()
    for shade in drawing.COLOURS:
        file = picture.file(FOLDER, shade)
        (tmp_path / "pictures" / file.name).write_bytes(file.read_bytes())
    source = picture.source + ("\n    changed --> since" if changed else "")
    (tmp_path / "index.md").write_text(f"# Page\n\n```mermaid\n{source}\n```\n", encoding="utf-8")
    (tmp_path / "conf.py").write_text(
        f"import sys; sys.path.insert(0, {str(EXTENSIONS)!r})\n"
        "extensions = ['myst_parser', 'pictures']\nmyst_fence_as_directive = ['mermaid']\n"
    )
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(tmp_path), str(tmp_path / "built")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if changed:
        assert done.returncode
        assert f"'{picture.title}' has changed since it was drawn: run `make pictures`" in done.stderr
        assert "index.md:3" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    images = re.findall(r"<img [^>]*>", (tmp_path / "built" / "index.html").read_text(encoding="utf-8"))
    assert len(images) == 2
    for image, shade in zip(images, ["light", "dark"], strict=True):
        [name] = re.findall(r'src="([^"]*)"', image)
        assert (tmp_path / "built" / name).read_bytes() == picture.file(FOLDER, shade).read_bytes()
        assert f'class="only-{shade}"' in image
        assert f'alt="{picture.description}"' in image


def test_a_picture_that_tells_nothing_to_who_does_not_see_it_is_refused(drawing):
    with pytest.raises(ValueError, match="accDescr"):
        _ = drawing.Picture.of("flowchart TB\n    accTitle: Two\n    a --> b\n").description
