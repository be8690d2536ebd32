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


@nox.session(python=interpreters())
def test(session: nox.Session) -> None:
    """Run the tests."""
    session.install("--quiet", "--editable", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python=HERE)
def check(session: nox.Session) -> None:
    """Check style, types and spelling."""
    session.install("--quiet", "--editable", ".[test,bench,docs]", "ruff>=0.14", "mypy>=1.18", "nox")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("codespell", "README.md", "CHANGELOG.md", "docs", "src", "examples", "benchmarks", "tests")


@nox.session(python=HERE)
def explore(session: nox.Session) -> None:
    """Search the schedules of all primitives within larger bounds."""
    session.install("--quiet", "--editable", ".[test]")
    session.run("pytest", "-s", "tests/exploration", *session.posargs, env={"HOLDFAST_EXPLORE": "deep"})


@nox.session(python=HERE)
def soak(session: nox.Session) -> None:
    """Let threads, then processes, contend, cancel and be killed for minutes."""
    session.install("--quiet", "--editable", ".[test]")
    session.run("python", "-m", "tests.threads.stress", *session.posargs)
    session.run("python", "-m", "tests.cluster.soak", *session.posargs)


@nox.session(python=HERE)
def mutation(session: nox.Session) -> None:
    """Take out each guarding line in turn, and show that some test fails."""
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
    """Measure the Lock across processes against filelock and flock; fails if a promise does not hold."""
    session.install("--quiet", "--editable", ".[bench]")
    session.run("python", "-m", "benchmarks.cluster", *session.posargs)
