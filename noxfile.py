"""The sessions behind make test, check and bench: one environment for each interpreter."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False

SUPPORTED = ["3.11", "3.12", "3.13", "3.14", "3.15", "3.14t", "3.15t"]
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def interpreters() -> list[str]:
    """The supported interpreters of this machine, those of pyenv included (its shims on PATH would deceive nox)."""
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=True).stdout.strip()
        found = sorted(str(folder) for folder in Path(root).glob("versions/3.*/bin"))
        os.environ["PATH"] = os.pathsep.join([*found, os.environ["PATH"]])
    return [version for version in SUPPORTED if version == HERE or shutil.which(f"python{version}")]


TASK_TIER = [
    "tests/conformance",
    "tests/exploration",
    "tests/models",
    "tests/test_asyncio_suite.py",
    "tests/test_closing.py",
    "tests/test_elsewhere.py",
    "tests/test_idle.py",
    "tests/test_import.py",
    "tests/test_install.py",
    "tests/test_iterations.py",
    "tests/test_loops.py",
    "tests/test_misuse.py",
    "tests/test_objects.py",
    "tests/test_patched.py",
    "tests/test_private_names.py",
    "tests/test_races.py",
    "tests/test_twins.py",
]
"""The tests of what has two twins."""
IN_PARALLEL = ["--numprocesses", str(min(4, 1 + (os.cpu_count() or 1))), "--dist", "worksteal"]
"""One more than there are processors, as the tests of real processes mostly wait; the searches, which do not, are side
by side in the order of the tests, so who has none left takes some over."""
ALONE = ["-k", "not memory and not embedded and not uvloop and not cluster and not valkey and not redis"]
"""Without the other tiers, and the same paths again."""


@nox.session(python=interpreters())
@nox.parametrize("twin", ["compiled", "pure"])
def test(session: nox.Session, twin: str) -> None:
    """Run the whole suite on the compiled twin, and the tests of the task tier on the pure one as well.

    In CI the large searches run on one interpreter and twin alone, as they would find the same on each.
    """
    extras = "test,loops" if session.python == HERE else "test"
    session.install("--quiet", "--editable", f".[{extras}]")
    if twin == "compiled":
        # Compiled when it is installed. Where that fails, the tests that set a server's clock are skipped.
        session.install("--quiet", "libfaketime", success_codes=[0, 1], silent=True)
        session.run("pytest", *IN_PARALLEL, *session.posargs, env={"HOLDFAST_EXPLORE": size_of_searches(session)})
    else:
        environment = {"HOLDFAST_PURE_PYTHON": "1", "HOLDFAST_EXPLORE": "small"}
        session.run("pytest", *IN_PARALLEL, *(session.posargs or [*TASK_TIER, *ALONE]), env=environment)


def size_of_searches(session: nox.Session) -> str | None:
    """What HOLDFAST_EXPLORE shall be; None leaves it as it is."""
    return "small" if os.environ.get("CI") and session.python != HERE else None


@nox.session(python=interpreters())
def loops(session: nox.Session) -> None:
    """Run what a program does with holdfast in each event loop that can be installed."""
    session.install("--quiet", "--editable", ".[test,loops]")
    session.run("pytest", "-rs", "tests/loops", *session.posargs)


@nox.session(python=interpreters(), name="debug-memory")
def debug_memory(session: nox.Session) -> None:
    """Run the tests of the task tier on the compiled twin, with the allocator that checks each block."""
    session.install("--quiet", "--editable", ".[test]")
    arguments = session.posargs or [*TASK_TIER, *ALONE]
    session.run("python", "-X", "dev", "-m", "pytest", *arguments, env={"PYTHONMALLOC": "debug"})


@nox.session(python=interpreters())
def asan(session: nox.Session) -> None:
    """Run the tests of the task tier on a twin compiled with AddressSanitizer, which uses no memory again."""
    flags = "-fsanitize=address -fno-omit-frame-pointer -O1 -g -DHOLDFAST_NO_REUSE"
    # Not editable: that would put the library beside the source, for everybody.
    session.install("--quiet", "--force-reinstall", "--no-deps", "--no-cache-dir", ".", env={"CFLAGS": flags})
    session.install("--quiet", ".[test]")
    library = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    session.run(
        *("python", "-c", "import holdfast; assert holdfast.accelerated"),
        env={"LD_PRELOAD": library.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"},
    )
    session.run(
        *("python", "-m", "pytest", *(session.posargs or [*TASK_TIER, *ALONE])),
        # The interpreter keeps memory until it ends, so leaks are the business of tests/test_leaks.py.
        env={"LD_PRELOAD": library.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"},
    )


@nox.session(python=HERE)
def wheel(session: nox.Session) -> None:
    """Build the sdist, a wheel for this platform, and one in pure Python."""
    session.install("--quiet", "build")
    session.run("python", "-m", "build", "--outdir", "dist", *session.posargs)
    session.run("python", "-m", "build", "--wheel", "--outdir", "dist", env={"HOLDFAST_PURE_PYTHON": "1"})


@nox.session(python=HERE)
def check(session: nox.Session) -> None:
    """Check style, types and spelling."""
    session.install("--quiet", "--editable", ".[test,bench,docs]", "ruff>=0.14", "mypy>=1.18", "pyright", "nox")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("pyright")
    session.run("codespell", "README.md", "CHANGELOG.md", "docs", "src", "examples", "benchmarks", "tests")


@nox.session(python=HERE)
def explore(session: nox.Session) -> None:
    """Search the schedules of all primitives within larger bounds."""
    session.install("--quiet", "--editable", ".[test]")
    searches = ["tests/exploration", "tests/cluster/test_records.py"]
    session.run("pytest", "-s", *searches, *session.posargs, env={"HOLDFAST_EXPLORE": "deep"})


@nox.session(python=HERE)
def soak(session: nox.Session) -> None:
    """Let threads, then processes, contend, cancel and be killed for minutes."""
    session.install("--quiet", "--editable", ".[test]")
    session.run("python", "-m", "tests.threads.stress", *session.posargs)
    session.run("python", "-m", "tests.cluster.soak", *session.posargs)


@nox.session(python=HERE)
def mutation(session: nox.Session) -> None:
    """Take out each guarding line in turn, and show that some test fails; in the pure twin, which the other follows."""
    session.install("--quiet", "--editable", ".[test]")
    session.run("python", "tests/mutation.py", *session.posargs)


@nox.session(python=[version for version in interpreters() if version in ("3.11", "3.13")] or HERE)
def bench(session: nox.Session) -> None:
    """Measure against asyncio, anyio, aiologic and trio."""
    session.install("--quiet", "--editable", ".[bench]")
    session.run("python", "-m", "benchmarks", *session.posargs)
    session.run("python", "-m", "benchmarks.threads")
    session.run("python", "-m", "benchmarks.explorer")


@nox.session(python=HERE, name="bench-cluster")
def bench_cluster(session: nox.Session) -> None:
    """Measure the Lock across processes, and on a server, against its peers; fails if a promise does not hold."""
    session.install("--quiet", "--editable", ".[bench]")
    session.run("python", "-m", "benchmarks.cluster", *session.posargs)
    session.run("python", "-m", "benchmarks.cluster.on_server")
