"""Find a free-threaded CPython, or build one from Debian's source package; print where it is.

    python tests/free_threaded/interpreter.py [--thread-sanitizer]

Taken is what PYTHON_FREE_THREADED names, else the newest one on PATH, else one that was built before, in the user's
cache folder. Where there is none, and the system is a Debian, CPython 3.13 is built from the source package of a later
suite: it comes from the mirror that this system uses anyway, and apt checks its signature. With --thread-sanitizer the
interpreter has to be built with ThreadSanitizer as well: PYTHON_THREAD_SANITIZER names it, and PATH is not searched.

The folder can be deleted at any time; the next call builds it again. It is not part of `make clean`.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

SUITE = "trixie"
SOURCE_PACKAGE = "python3.13"
EXECUTABLE = f"{SOURCE_PACKAGE}t"
ON_PATH = ("python3.15t", "python3.14t", "python3.13t")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
NEEDED = {"ssl": "libssl-dev", "zlib": "zlib1g-dev", "ctypes": "libffi-dev", "sqlite3": "libsqlite3-dev"}
"""Modules of the standard library that the tests or pip use, and what has to be installed to have them built."""

ASK = """
import sys, sysconfig
print(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), "thread-sanitizer" in sysconfig.get_config_var("CONFIG_ARGS"))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--thread-sanitizer", action="store_true", help="one that is built with ThreadSanitizer")
    sanitized = parser.parse_args().thread_sanitizer
    print(interpreter(sanitized))
    return 0


def interpreter(sanitized: bool) -> Path:
    variable = "PYTHON_THREAD_SANITIZER" if sanitized else "PYTHON_FREE_THREADED"
    named = os.environ.get(variable)
    if named:
        found = shutil.which(named)
        if found is None or not is_right(Path(found), sanitized):
            kind = "free-threaded CPython" + (" with ThreadSanitizer" if sanitized else "")
            raise SystemExit(f"{variable} must be the path of a {kind}, not {named!r}")
        return Path(found)
    if not sanitized:
        for name in ON_PATH:
            found = shutil.which(name)
            if found is not None and is_right(Path(found), sanitized):
                return Path(found)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast"
    prefix = cache / (f"{EXECUTABLE}-tsan" if sanitized else EXECUTABLE)
    if not (prefix / "complete").exists():
        check_system(variable)
        shutil.rmtree(prefix, ignore_errors=True)
        build(fetch(prefix), prefix, sanitized)
        (prefix / "complete").touch()
    return prefix / "bin" / EXECUTABLE


def is_right(python: Path, sanitized: bool) -> bool:
    answer = subprocess.run([python, "-c", ASK], env=quiet(), capture_output=True, text=True, check=False)
    return answer.stdout.split() in ([["True", "True"]] if sanitized else [["True", "True"], ["True", "False"]])


def check_system(variable: str) -> None:
    """Exit, and say what to do, where no interpreter can be built."""
    release = platform.freedesktop_os_release() if sys.platform == "linux" else {}
    if release.get("ID") != "debian" or not KEYRING.exists():
        raise SystemExit(
            "there is no free-threaded CPython here, and it can be built on Debian only: "
            f"set {variable}=/path/to/python3.13t"
        )
    missing = [tool for tool in ("apt-get", "dpkg-source", "gcc", "make") if shutil.which(tool) is None]
    if missing:
        raise SystemExit(
            f"to build a free-threaded CPython, {', '.join(missing)} must be installed (packages build-essential)"
        )


def fetch(prefix: Path) -> Path:
    """Get the source package, and unpack it; return its folder."""
    say(f"fetching Debian's source package {SOURCE_PACKAGE} of {SUITE}")
    folder = prefix / "source"
    for empty in ("lists/partial", "archives/partial", "parts"):
        (folder / "apt" / empty).mkdir(parents=True)
    sources = folder / "apt" / "sources.list"
    sources.write_text(f"deb-src [signed-by={KEYRING}] {mirror()} {SUITE} main\n")
    apt = [
        *("apt-get", "--quiet"),
        *("-o", f"Dir::Etc::sourcelist={sources}"),
        *("-o", f"Dir::Etc::sourceparts={folder}/apt/parts"),
        *("-o", f"Dir::State::lists={folder}/apt/lists"),
        *("-o", f"Dir::Cache={folder}/apt"),
        # A mirror may be a snapshot, whose lists are old. They are signed all the same.
        *("-o", "Acquire::Check-Valid-Until=false"),
    ]
    run([*apt, "update"], folder, prefix)
    run([*apt, "source", "--download-only", SOURCE_PACKAGE], folder, prefix)
    (description,) = folder.glob("*.dsc")
    # CPython as it was released: Debian's patches have it look for packages where only Debian's own interpreter has
    # them. apt has checked the files, by the sums in its signed lists; the keys of all of Debian's developers are not
    # here.
    run(["dpkg-source", "--no-check", "--skip-patches", "--extract", str(description), "unpacked"], folder, prefix)
    return folder / "unpacked"


def mirror() -> str:
    """Where this system's own packages come from, by its own configuration."""
    codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
    form = "$(RELEASE) $(COMPONENT) $(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    for line in answer.stdout.splitlines():
        release, component, uri = line.split(maxsplit=2)
        if (release, component) == (codename, "main"):
            return uri
    raise SystemExit(
        "this system's apt has no source of Debian's own packages, so there is nowhere to fetch CPython from"
    )


def build(source: Path, prefix: Path, sanitized: bool) -> None:
    say(f"building it in {prefix}, which takes ten minutes; only once")
    options = ["--disable-gil", "--without-ensurepip", *(["--with-thread-sanitizer"] if sanitized else [])]
    run(["./configure", "--quiet", f"--prefix={prefix}", *options], source, prefix)
    run(["make", "--silent", f"--jobs={os.cpu_count() or 1}"], source, prefix)
    # Without compiling all of the library three times, which takes longer than all the rest.
    run(["make", "--silent", "install", "COMPILEALL_OPTS=--help"], source, prefix)
    for module, package in NEEDED.items():
        command = [str(prefix / "bin" / EXECUTABLE), "-c", f"import {module}"]
        if subprocess.run(command, env=quiet(), capture_output=True, check=False).returncode != 0:
            raise SystemExit(f"it was built without {module}: install the package {package}, and try again")
    shutil.rmtree(prefix / "source")


def quiet() -> dict[str, str]:
    """The environment, in which an interpreter with ThreadSanitizer says nothing of itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {
        "TSAN_OPTIONS": "report_bugs=0"
    }


def run(command: list[str], folder: Path, prefix: Path) -> None:
    """Run one of the steps; what it says goes to a file beside the interpreter."""
    log = prefix / "build.log"
    with log.open("a") as output:
        step = subprocess.run(command, cwd=folder, env=quiet(), stdout=output, stderr=output, check=False)
    if step.returncode != 0:
        raise SystemExit(f"{' '.join(command[:2])} failed: see {log}")


def say(text: str) -> None:
    print(f"free-threaded CPython: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
