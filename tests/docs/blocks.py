"""The code blocks of a page of the manual, and what is done with each.

CONTRIBUTING.md ("Write documentation") says how a page is written. What it says is done here:

- A `python` block is run. All blocks of a page share one namespace and one event loop, and may `await` at top level.
  A block whose first line is `# name.py` becomes that file instead, in the directory in which the page is run.
- `<!-- invisible-code-block: python ... -->` is run, too.
- `<!-- output -->` before a `text` block: the `python` block before it prints this.
- The commands of a `console` block, after `$ `, are run in a shell, and print what the block shows. One that shows
  nothing must succeed. All commands of a page are typed into one shell, as its reader does it: it keeps its jobs and
  its variables.
- Other languages are parsed.
- `<!-- not run: WHY -->` before a block: none of this is done.

A line `...` in what is shown stands for any lines.
"""

from __future__ import annotations

import ast
import asyncio
import configparser
import contextlib
import inspect
import io
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from sybil import Document, Example, Region, Sybil

ROOT = Path(__file__).parents[2]
HOST = "web1"
"""What the manual calls the machine on which its commands are run."""
PLAIN = {"", "text", "none", "{toctree}", "{eval-rst}", "{figure}", "{image}"}
"""Blocks that are no code, or that Sphinx reads and complains about."""
ALTERS = re.compile(
    r"^\$ (?:sudo )?(pip|python -m (?:pip|venv)|uv|make|nox|git|apt|docker|kubectl|systemctl)\b", re.MULTILINE
)
"""What is not done to the machine of whoever runs the tests."""
DOTS = "..."
PATIENCE = 90.0
"""Seconds that a command may take."""


@dataclass
class Block:
    """One block of a page."""

    language: str
    body: str
    line: int
    """Where its body begins."""
    not_run: str | None = None
    is_output: bool = False
    shown: bool = True


@dataclass
class Tally:
    """What was done with the blocks of a page."""

    run: int = 0
    parsed: int = 0
    not_run: list[str] = field(default_factory=list)


class Page:
    """What the blocks of a page share."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder
        self.tally = Tally()
        self.namespace: dict[str, object] = {"__name__": "__main__", "__file__": str(path)}
        self.printed = ""
        """By the last block of Python."""
        self.runner = asyncio.Runner()
        self.shells: list[subprocess.Popen[bytes]] = []
        """The last one is in use, unless a command has ended it."""
        self.typed = 0

    def close(self) -> None:
        self.namespace.clear()
        self.runner.close()
        for shell in self.shells:
            with contextlib.suppress(ProcessLookupError):  # a command may have left something behind
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
            for pipe in shell.stdin, shell.stdout:
                assert pipe is not None
                pipe.close()

    def do(self, block: Block) -> None:
        """Run it or parse it."""
        if block.not_run is not None:
            self.tally.not_run.append(f"{self.path.name}:{block.line}: {block.not_run}")
            return
        if block.is_output:
            compare(block.body, self.printed)
        elif block.language == "python":
            self.tally.run += block.shown
            self.python(block)
        elif block.language == "console":
            if changes := ALTERS.search(block.body):
                self.tally.not_run.append(f"{self.path.name}:{block.line}: {changes[1]} changes the environment")
                return
            self.tally.run += 1
            self.console(block.body)
        elif block.language in PARSERS:
            self.tally.parsed += 1
            PARSERS[block.language](block.body)
        elif block.language not in PLAIN:
            raise AssertionError(
                f"nothing here can check {block.language!r}: teach tests/docs/blocks.py, or write "
                "'<!-- not run: WHY -->' before the block"
            )

    def python(self, block: Block) -> None:
        if name := re.match(r"# ([\w/]+\.py)$", block.body.partition("\n")[0]):
            compile(block.body, name[1], "exec")
            file = self.folder / name[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.body)
            return
        source = "\n" * (block.line - 1) + block.body
        code = compile(source, str(self.path), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output):
                if code.co_flags & inspect.CO_COROUTINE:
                    self.runner.run(self._awaiting(code))
                else:
                    exec(code, self.namespace)
        finally:
            self.printed = output.getvalue()
            sys.stdout.write(self.printed)

    async def _awaiting(self, code: object) -> None:
        await eval(code, self.namespace)  # type: ignore[arg-type]  # of a coroutine's flags

    def console(self, body: str) -> None:
        for command, shown in commands(body):
            code, printed = self.shell(command)
            if shown:
                compare(shown, printed, likeness=alike)
            else:
                assert code == 0, f"{command}: exit code {code}\n{printed}"

    def shell(self, command: str) -> tuple[int, str]:
        """Its exit code and what it prints. What it leaves in the background goes on until the page ends."""
        if not self.shells or self.shells[-1].poll() is not None:
            self.shells.append(self._begun())
        shell = self.shells[-1]
        assert shell.stdin is not None
        assert shell.stdout is not None
        self.typed += 1
        script, output = (self.folder / f".{kind}{self.typed}" for kind in ("command", "output"))
        script.write_text(f"{command}\n")
        # Appended, so that what several processes print at a time stands one behind the other.
        shell.stdin.write(f". ./{script.name} </dev/null >>{output.name} 2>&1; echo $?\n".encode())
        ready, _, _ = select.select([shell.stdout], [], [], PATIENCE)
        printed = output.read_text(errors="replace")
        if not ready:
            raise TimeoutError(f"{command}: not done within {PATIENCE} s\n{printed}")
        code = shell.stdout.readline()
        return int(code) if code else shell.wait(), output.read_text(errors="replace")

    def _begun(self) -> subprocess.Popen[bytes]:
        environment = dict(os.environ)
        paths = [str(Path(__file__).parent / "names"), environment.get("PYTHONPATH", "")]
        environment |= {
            "COLUMNS": "200",
            "NO_COLOR": "1",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]]),
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        }
        return subprocess.Popen(
            ["/bin/sh"],
            bufsize=0,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )


# What is shown, and what was printed


def commands(body: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block and what they print. `> ` continues a command, as in a shell."""
    command, shown = "", []
    for line in body.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, "\n".join(shown)
            command, shown = line[2:], []
        elif (line.startswith("> ") or command.endswith("\\")) and not shown:
            command += "\n" + line.removeprefix("> ")
        else:
            assert command, "a console block begins with '$ '"
            shown.append(line)
    if command:
        yield command, "\n".join(shown)


def alike(line: str) -> str:
    """A line without what differs from run to run: numbers, the width of columns, and the name of the machine."""
    line = line.replace(socket.gethostname(), HOST).replace(HOST, "web")
    return re.sub(r"\s+", " ", re.sub(r"\d+", "0", line)).strip()


def compare(shown: str, printed: str, likeness: Callable[[str], str] = str.rstrip) -> None:
    """Raise unless this was printed; a line of dots is any lines."""
    wanted = [line if line.strip() == DOTS else likeness(line) for line in shown.rstrip("\n").splitlines()]
    found = [likeness(line) for line in printed.rstrip("\n").splitlines()]
    pieces: list[list[str]] = [[]]
    for line in wanted:
        if line.strip() == DOTS:
            pieces.append([])
        else:
            pieces[-1].append(line)
    start = 0
    for number, piece in enumerate(pieces):
        is_first, is_last = number == 0, number == len(pieces) - 1
        places = range(start, len(found) - len(piece) + 1)
        for at in places:
            fits = found[at : at + len(piece)] == piece
            is_too_late = is_first and at > 0
            is_too_early = is_last and (piece or is_first) and at + len(piece) != len(found)
            if fits and not is_too_late and not is_too_early:
                start = at + len(piece)
                break
        else:
            raise AssertionError("\n".join(["not printed:", *piece, "", "printed:", printed]))


# Other languages


def check_ini(body: str) -> None:
    """systemd's units, and other files of that kind, in which a key may come twice."""
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, delimiters=("=",))
    parser.read_string(body)
    assert parser.sections(), "no [Section]"


def check_shell(body: str) -> None:
    shell = shutil.which("bash") or "/bin/sh"
    result = subprocess.run([shell, "-n"], input=body, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr


def check_cron(body: str) -> None:
    for line in body.splitlines():
        is_entry = re.match(r"(@\w+|[\d*/,-]+(\s+[\d*/,-]+){4})\s+\S", line)
        assert not line.strip() or line.startswith("#") or re.match(r"\w+=", line) or is_entry, line


def check_dockerfile(body: str) -> None:
    known = "FROM RUN CMD COPY ADD ENV ARG WORKDIR USER VOLUME EXPOSE ENTRYPOINT HEALTHCHECK LABEL STOPSIGNAL SHELL"
    for line in re.sub(r"\\\n", " ", body).splitlines():
        assert not line.strip() or line.startswith("#") or line.split()[0] in known.split(), line


def check_nginx(body: str) -> None:
    assert body.count("{") == body.count("}")
    for line in body.splitlines():
        assert not line.strip() or line.strip()[-1] in "{};" or line.strip().startswith("#"), line


def check_diff(body: str) -> None:
    """Of Python: before and after."""
    for side in " -", " +":
        lines = [line for line in body.splitlines() if not line.startswith(("---", "+++", "@@"))]
        text = "\n".join(line[1:] for line in lines if line[:1] in side or not line)
        compile(text, "<diff>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def check_mermaid(body: str) -> None:
    kind = body.strip().split(maxsplit=1)[0]
    kinds = ["flowchart", "graph", "sequenceDiagram", "stateDiagram-v2", "classDiagram", "gantt", "timeline"]
    assert kind in kinds, f"{kind!r} is no picture of Mermaid's"
    # Without a browser, this is what breaks them most often.
    if kind in ("flowchart", "graph"):
        for opening, closing in ("[]", "()", "{}"):
            assert body.count(opening) == body.count(closing), f"{opening} without {closing}"
    else:
        openings = re.findall(r"^\s*(alt|opt|loop|par|rect|critical|box)\b", body, re.MULTILINE)
        assert len(openings) == len(re.findall(r"^\s*end\b", body, re.MULTILINE)), "a block without its end"


PARSERS: dict[str, Callable[[str], object]] = {
    "cron": check_cron,
    "diff": check_diff,
    "dockerfile": check_dockerfile,
    "ini": check_ini,
    "systemd": check_ini,
    "json": json.loads,
    "mermaid": check_mermaid,
    "nginx": check_nginx,
    "sh": check_shell,
    "bash": check_shell,
    "toml": tomllib.loads,
    "yaml": lambda body: list(yaml.safe_load_all(body)),
}


# Reading

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^`\n]*)$")
COLONS = re.compile(r"^ *:{3,}")
INVISIBLE = re.compile(r"^<!--+ *invisible-code-block: *python *$")
MARK = re.compile(r"^ *<!--+ *(?:(?P<output>output)|not run: *(?P<why>.*?)) *-->$")


def read(text: str) -> Iterable[tuple[int, int, Block]]:
    """All blocks, with the offsets at which each begins and ends."""
    offset, number = 0, 0
    lines = text.splitlines(keepends=True)
    mark: re.Match[str] | None = None
    while number < len(lines):
        line = lines[number].rstrip("\n")
        found, start = FENCE.match(line), offset
        if INVISIBLE.match(line):
            end = next(n for n in range(number + 1, len(lines)) if lines[n].strip() == "-->")
            body = "".join(lines[number + 1 : end])
            block = Block("python", body, number + 2, shown=False)
        elif found:
            info = found["info"].split()
            if info[:1] == ["{code-block}"]:
                info = info[1:]
            elif info and info[0].startswith("{") and info[0] not in PLAIN | set(PARSERS):
                info = ["{other}"]
            closing = re.compile(rf"^ *`{{{len(found['ticks'])},}} *$")
            end = next(n for n in range(number + 1, len(lines)) if closing.match(lines[n]))
            indent = len(found["indent"])
            body = "".join(part[indent:] if part.strip() else "\n" for part in lines[number + 1 : end])
            body = re.sub(r"\A(:[\w-]+:.*\n)+\n?", "", body)
            if info == ["{other}"]:  # a note, a tab: what is in it is read as if it stood by itself
                lines[end] = "\n" * lines[end].count("\n")
                offset += len(lines[number])
                number += 1
                continue
            block = Block(info[0] if info else "", body, number + 2)
            if mark:
                block.not_run, block.is_output = mark["why"], bool(mark["output"])
        else:
            if line.strip():
                mark = MARK.match(line)
            offset += len(lines[number])
            number += 1
            continue
        offset += sum(len(part) for part in lines[number : end + 1])
        number, mark = end + 1, None
        yield start, offset, block


def evaluate(example: Example) -> str | None:
    page: Page = example.namespace["page"]
    try:
        page.do(example.parsed)
    except Exception as exc:
        exc.add_note(f"in the block at {page.path.relative_to(ROOT)}:{example.parsed.line}")
        raise
    return None


def parser(document: Document) -> Iterator[Region]:
    for start, end, block in read(document.text):
        yield Region(start, end, block, evaluate)


def examples(path: Path, page: Page) -> Iterator[Example]:
    document = Sybil([parser]).parse(path)
    document.namespace["page"] = page
    return iter(document.examples())
