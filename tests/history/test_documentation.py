"""docs/testing.md does what it says: its programs are run, and print what it shows.

A python block begins with a comment that names its file. A diff block is a patch that changes such a file. A console
block runs a command with the files as they are there, and shows what it prints; a line of dots stands for any lines.
Line numbers and times may differ. `<!-- needs python < 3.13 -->` says what the next command needs.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from interpreters import BOUND

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
PART = re.compile(r"^```(\w+)\n(.*?)^```$|^<!-- needs (.*?) -->$", re.MULTILINE | re.DOTALL)
DOTS = "..."
DISTURBING = ["FORCE_COLOR", "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTHON_COLORS", "PY_COLORS"]


@dataclass
class Command:
    """Something to run, and what the page shows of its output."""

    text: str
    shown: list[str]
    files: dict[str, str]
    need: str | None


@dataclass
class Patch:
    """A diff of the page, and the files before and after it."""

    text: str
    before: dict[str, str]
    after: dict[str, str]


def read(page: str) -> tuple[list[Command], list[Patch]]:
    commands: list[Command] = []
    patches: list[Patch] = []
    files: dict[str, str] = {}
    need = None
    for kind, body, needed in PART.findall(page):
        first, _, rest = body.partition("\n")
        if needed:
            need = needed
        elif kind == "python":
            files[first.removeprefix("# ")] = body
        elif kind == "diff":
            name = first.removeprefix("--- a/")
            lines = rest.splitlines(keepends=True)[2:]  # without +++ and @@
            old, new = ("".join(line[1:] for line in lines if line[0] in side) for side in (" -", " +"))
            assert files[name].count(old) == 1
            before = dict(files)
            files[name] = files[name].replace(old, new)
            patches.append(Patch(body, before, dict(files)))
        elif kind == "console" and first.startswith("$ python "):
            commands.append(Command(first.removeprefix("$ "), normal(rest), dict(files), need))
            need = None
    return commands, patches


def normal(text: str) -> list[str]:
    text = re.sub(r"(\w\.py):\d+", r"\1:0", text).replace("Task.__wakeup()", "Task.task_wakeup()")  # PyPy's
    return re.sub(r"\b\d+\.\d\d ?s\b", "0.00 s", text).splitlines()


def missing(shown: list[str], printed: list[str]) -> list[str] | None:
    """The first piece of what is shown that was not printed after the pieces before it."""
    pieces: list[list[str]] = [[]]
    for line in shown:
        if line == DOTS:
            pieces.append([])
        else:
            pieces[-1].append(line)
    start = 0
    for number, piece in enumerate(pieces):
        first, last = number == 0, number == len(pieces) - 1
        for at in range(start, len(printed) - len(piece) + 1):
            fits = printed[at : at + len(piece)] == piece
            if fits and not (first and at) and not (last and piece and at + len(piece) != len(printed)):
                start = at + len(piece)
                break
        else:
            return piece
    return None


def unmet(need: str) -> str | None:
    """Why something that is needed is not there."""
    name, relation, version = need.split()
    wanted = tuple(map(int, version.split(".")))
    if name == "python":
        here = sys.version_info[: len(wanted)]
    else:
        try:
            here = tuple(map(int, re.findall(r"\d+", importlib.metadata.version(name))))
        except importlib.metadata.PackageNotFoundError:
            here = ()
    met = {"<": here < wanted, ">=": here >= wanted, "==": here == wanted}[relation]
    return None if met else f"needs {need}"


COMMANDS, PATCHES = read(PAGE.read_text())
TOOLS = {"patch": ["patch"], "git": ["git", "apply"]}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.text.partition("\n")[0])
def test_a_diff_of_the_page_is_a_patch(patch, tool, tmp_path):
    if shutil.which(tool) is None:
        pytest.skip(f"there is no {tool} here")
    for name, text in patch.before.items():
        (tmp_path / name).write_text(text)
    result = subprocess.run(TOOLS[tool], cwd=tmp_path, input=patch.text, capture_output=True, text=True, timeout=BOUND)
    assert result.returncode == 0, result.stderr + result.stdout
    assert not re.search("fuzz|offset", result.stdout + result.stderr)
    assert {name: (tmp_path / name).read_text() for name in patch.after} == patch.after


def test_there_is_a_diff_on_the_page():
    assert PATCHES


@pytest.mark.parametrize("command", [pytest.param(command, id=command.text) for command in COMMANDS])
def test_a_command_of_the_page_prints_what_the_page_shows(command, tmp_path):
    if command.need and (reason := unmet(command.need)):
        pytest.skip(reason)
    for name, text in command.files.items():
        (tmp_path / name).write_text(text)
    arguments = [sys.executable, *shlex.split(command.text)[1:]]
    if arguments[1:3] == ["-m", "pytest"]:
        arguments += ["-p", "no:cacheprovider", "-p", "no:anyio"]
    environment = {name: value for name, value in os.environ.items() if name not in DISTURBING} | {"COLUMNS": "80"}
    result = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=BOUND)
    printed = normal(result.stdout)
    piece = missing(command.shown, printed)
    assert piece is None, "\n".join(["not printed:", *piece, "", "printed:", result.stdout, result.stderr])


@pytest.mark.parametrize(
    ("shown", "whole"),
    [
        ("a b c", True),
        ("a b", False),
        ("b c", False),
        ("... c", True),
        ("a ...", True),
        ("... b ...", True),
        ("... c b ...", False),
        ("... c ... b ...", False),
        ("a ... c", True),
    ],
)
def test_the_comparison(shown, whole):
    assert (missing(shown.split(), ["a", "b", "c"]) is None) == whole
