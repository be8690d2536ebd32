"""Pyodide: CPython compiled to WebAssembly, run by node. `make pyodide` installs it, and runs this."""

import asyncio
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

import holdfast

from . import program

BOUND = 60
"""Seconds that node may take."""
PACKAGE = Path(holdfast.__file__).parent
ROOT = Path(__file__).parents[2]

SCRIPT = """
import {{ loadPyodide }} from {pyodide};
import fs from "fs";
try {{
  const pyodide = await loadPyodide();
  pyodide.unpackArchive(new Uint8Array(fs.readFileSync({archive})), "zip", {{extractDir: "/home/pyodide"}});
  const inATask = JSON.parse(await pyodide.runPythonAsync({in_a_task}));
  const inNone = JSON.parse(pyodide.runPython({in_none}));
  console.log(JSON.stringify({{version: pyodide.version, inATask, inNone}}));
}} catch (error) {{
  console.error(error.message);  // node would show the line as well, which is a megabyte
  process.exit(1);
}}
"""
IN_A_TASK = """
import asyncio, json, sys
import holdfast, holdfast.threads
import program

def refusal(url):
    try:
        holdfast.connect(url)
    except holdfast.EngineError as error:
        return str(error)

json.dumps({
    "platform": sys.platform,
    "accelerated": holdfast.accelerated,
    "task": asyncio.current_task() is not None,
    "everything": await program.everything(),
    "searches": program.searches(),
    "after": await program.hand_off(),
    "nested": program.nested(),
    "refusals": [refusal(None), refusal("sqlite:///tmp/nowhere")],
})
"""
IN_NONE = """
json.dumps({"task": asyncio.current_task() is not None, "searches": program.searches()})
"""


def pyodide() -> Path:
    """Where it is: where PYODIDE says, where `make pyodide` has put it, or beside this directory."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    installed = [folder / "node_modules" / "pyodide" for folder in (ROOT / ".venv" / "pyodide", *ROOT.parents)]
    for folder in [Path(os.environ["PYODIDE"])] if "PYODIDE" in os.environ else installed:
        if (folder / "pyodide.mjs").exists():
            return folder / "pyodide.mjs"
    pytest.skip(
        "pyodide is not installed: 'make pyodide' does that, or PYODIDE=…/node_modules/pyodide says where it is"
    )


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory):
    """What the program comes to in Pyodide."""
    where, folder = pyodide(), tmp_path_factory.mktemp("pyodide")
    with zipfile.ZipFile(folder / "holdfast.zip", "w") as archive:
        archive.write(program.__file__, "program.py")
        for file in PACKAGE.rglob("*.py"):
            archive.write(file, file.relative_to(PACKAGE.parent))
    script = SCRIPT.format(
        pyodide=json.dumps(where.as_uri()),
        archive=json.dumps(str(folder / "holdfast.zip")),
        in_a_task=json.dumps(IN_A_TASK),
        in_none=json.dumps(IN_NONE),
    )
    (folder / "run.mjs").write_text(script)
    done = subprocess.run(
        ["node", "--no-warnings", str(folder / "run.mjs")], capture_output=True, text=True, timeout=BOUND
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def as_json(value: object) -> object:
    return json.loads(json.dumps(value))


def test_it_is_pyodide(there):
    found = there["inATask"]
    assert (found["platform"], found["accelerated"], found["task"]) == ("emscripten", False, True)


def test_the_primitives_and_a_session_do_what_they_do_here(there):
    here = as_json(asyncio.run(program.everything()))
    assert there["inATask"]["everything"] == here
    (waiting, order, locked), (woken, seen, most, indices, _), (cancelled, got, left), (owners, grow, third, _) = here
    assert (waiting, order, locked) == (5, [0, 1, 2, 3, 4, "late"], False)
    assert (woken, seen, most, indices) == ([True] * 3, ["A", "B", "C"], 2, [0, 1, 2])
    assert (cancelled, got, left) == (True, True, 0)
    assert (owners, grow, third) == (["one", "two"], True, None)


@pytest.mark.parametrize("where", ["inATask", "inNone"])
def test_it_explores_as_here_although_a_loop_is_said_to_run(there, where):
    (all_cases, one_by_one), tried, story = here = as_json(program.searches())
    assert there[where]["searches"] == here
    assert all_cases[:2] == one_by_one[:2] == [True, True]
    assert all_cases[2] > 500
    assert tried > 1
    assert "nothing is left that would wake" in story


def test_the_loop_of_pyodide_goes_on_after_a_search(there):
    assert there["inATask"]["after"] == as_json(asyncio.run(program.hand_off()))
    assert there["inATask"]["task"]


def test_what_is_explored_cannot_explore(there):
    assert "brings its own event loop" in program.nested()
    assert there["inATask"]["nested"] == program.nested()


def test_the_embedded_engine_says_what_is_missing(there):
    for sentence in there["inATask"]["refusals"]:
        assert "for POSIX systems" in sentence
        assert "this one lacks processes" in sentence
