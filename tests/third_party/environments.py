"""An environment for each library, and the runs of its suite in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.servers import Server

from .libraries import Library
from .outcomes import Run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PLACE = ROOT / "build" / "third-party" / PYTHON
CONSTRAINTS = HERE / "constraints"
INSIDE = HERE / "inside"

PURE = bool(os.environ.get("HOLDFAST_PURE_PYTHON"))
MINUTES_FOR_A_SUITE = 40
SECONDS_FOR_A_TEST = 120
"""A wake-up that is lost is a failed test, and not a run that hangs."""


class NotRunError(Exception):
    """An environment cannot be made, or a suite not be run; says what was tried and what came of it."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment with a library, as its sdist has it, and what its tests need."""

    library: Library
    folder: Path
    """Where the logs are."""
    source: Path
    """What the sdist has."""
    python: Path

    def run(self, with_holdfast: bool, chosen: Collection[str] | None = None) -> Run:
        """Run the suite, or the tests that are chosen."""
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="third-party-"))
            options = self.library.options
            if self.library.valkey is not None:
                server = stack.enter_context(Server("--enable-debug-command", "yes"))
                options += (self.library.valkey.format(server.url),)
            results, counts = Path(folder, "outcomes.json"), Path(folder, "counts")
            counts.mkdir()
            environment = {
                **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))},
                "PATH": os.pathsep.join([str(self.python.parent), os.environ["PATH"]]),
                "PYTHONPATH": str(INSIDE),
                "PYTHONHASHSEED": "0",
                "THIRD_PARTY_OUTCOMES": str(results),
                **self.library.environment,
            }
            if with_holdfast:
                environment["THIRD_PARTY_COUNTS"] = str(counts)
            if chosen is not None:
                names = Path(folder, "chosen.json")
                names.write_text(json.dumps(sorted(chosen)), encoding="utf-8")
                environment["THIRD_PARTY_CHOSEN"] = str(names)
            log = self.folder / f"{'with-holdfast' if with_holdfast else 'plain'}.log"
            self._pytest(options, environment, log)
            if not results.exists():
                raise NotRunError(f"{self.library.name}: pytest ended without its results, see {log}")
            noted = json.loads(results.read_text(encoding="utf-8"))
            if noted["lock"].startswith("holdfast.") != with_holdfast:
                raise NotRunError(f"{self.library.name}: asyncio.Lock was {noted['lock']} in the suite's process")
            if noted["compiled"] != (with_holdfast and not PURE):
                raise NotRunError(f"{self.library.name}: the twin was not the one that was asked for")
            made = {int(file.stem): Counter(json.loads(file.read_text())) for file in counts.glob("*.json")}
            total = sum(made.values(), Counter())
            of_pytest = made.get(noted["process"], Counter())
            return Run(
                outcomes=noted["outcomes"],
                reasons=noted["reasons"],
                with_primitives=len(noted["with_primitives"]),
                made=dict(sorted(total.items())),
                made_in_children=total.total() - of_pytest.total(),
            )

    def _pytest(self, options: Collection[str], environment: dict[str, str], log: Path) -> None:
        library = self.library
        command = [
            *(self.python, "-m", "pytest", "-p", "holdfast_outcomes", "-p", "no:cacheprovider"),
            *(f"--rootdir={self.source}", "--override-ini=addopts=", "--continue-on-collection-errors"),
            *("-rfE", "--tb=short", "--color=no"),
            *(f"--timeout={SECONDS_FOR_A_TEST}", "--timeout-method=signal"),
            *(argument for test in library.deselected for argument in ("--deselect", test)),
            *(["--hypothesis-seed=0"] if "hypothesis" in library.requires else []),
            *options,
            *library.tests,
        ]
        with log.open("wb") as output:
            try:
                subprocess.run(
                    command,
                    cwd=self.source,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=60 * MINUTES_FOR_A_SUITE,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise NotRunError(
                    f"{library.name}: the suite takes more than {MINUTES_FOR_A_SUITE} minutes, see {log}"
                ) from None


def wheel(folder: Path) -> Path:
    """A wheel of holdfast as it is here, with the compiled twin, made in `folder`."""
    command("pip", "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    (found,) = folder.glob("*.whl")
    return found


def environment(library: Library, holdfast: Path, freeze: bool = False) -> Environment:
    """The environment of a library, made anew if anything in the table has changed, with this wheel of holdfast.

    freeze: take the newest versions of what the tests need, and note them in constraints/.
    """
    folder = PLACE / library.name
    made = Environment(library, folder, folder / "source", folder / "venv" / "bin" / "python")
    constraints = CONSTRAINTS / f"{library.name}.txt"
    mark = folder / "made-of"
    if freeze or not mark.exists() or mark.read_text(encoding="utf-8") != recipe(library, constraints):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        unpack(sdist(library), made.source)
        (folder / "pytest.ini").touch()  # for those without a configuration: pytest would take that of holdfast
        command("uv", "venv", "--python", sys.executable, folder / "venv")
        extras = f"[{','.join(library.extras)}]" if library.extras else ""
        command(
            *("uv", "pip", "install", "--python", made.python, *([] if freeze else ["--constraint", constraints])),
            *("--editable", f"{made.source}{extras}", "pytest-timeout", *library.requires),
        )
        if freeze:
            note_versions(made, constraints)
        mark.write_text(recipe(library, constraints), encoding="utf-8")
    command("uv", "pip", "install", "--python", made.python, "--no-deps", "--reinstall", holdfast)
    return made


def recipe(library: Library, constraints: Path) -> str:
    """All that an environment depends on."""
    wanted = library.name, library.version, library.sha256, library.extras, library.requires
    return f"{wanted}\n{constraints.read_text(encoding='utf-8')}"


def sdist(library: Library) -> Path:
    """The sdist, from the last time or from PyPI."""
    folder = ROOT / "build" / "third-party" / "sdists"
    folder.mkdir(parents=True, exist_ok=True)
    if (found := with_hash(library.sha256, folder)) is None:
        wanted = f"{library.name}=={library.version}"
        command("pip", "download", "--no-deps", "--no-binary", library.name, "--dest", folder, wanted)
        if (found := with_hash(library.sha256, folder)) is None:
            raise NotRunError(f"{wanted}: the sdist is another one than that of the table")
    return found


def with_hash(sha256: str, folder: Path) -> Path | None:
    return next((file for file in folder.iterdir() if hashlib.sha256(file.read_bytes()).hexdigest() == sha256), None)


def unpack(archive: Path, folder: Path) -> None:
    """Put what is in the one folder of an archive into `folder`."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        with tarfile.open(archive) as files:
            files.extractall(temporary, filter="data")
        (top,) = Path(temporary).iterdir()
        top.rename(folder)


def note_versions(made: Environment, constraints: Path) -> None:
    """Write what is installed into the constraints, beside what they have for other Pythons."""
    frozen = command("uv", "pip", "freeze", "--python", made.python, "--exclude-editable").splitlines()
    here = f"; python_version == '{PYTHON}'"
    others = constraints.read_text(encoding="utf-8").splitlines() if constraints.exists() else []
    kept = [line for line in others if not line.endswith(here)]
    constraints.parent.mkdir(exist_ok=True)
    lines = sorted({*kept, *(f"{line} {here}" for line in frozen)}, key=str.lower)
    constraints.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def command(module: str, *arguments: str | Path) -> str:
    """What a module of this Python prints when it is run with these arguments."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotRunError(
            f"{module} {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout
