"""`import holdfast` loads the task tier, and neither another tier nor anybody else's code."""

import json
import subprocess
import sys
from pathlib import Path

import holdfast

TASK_TIER = {
    "holdfast",
    "holdfast._connect",
    "holdfast._contextmanager",
    "holdfast._errand",
    "holdfast._install",
    "holdfast._primitive",
    "holdfast._refusals",
    "holdfast._twins",
    "holdfast._waitqueue",
    "holdfast.barrier",
    "holdfast.condition",
    "holdfast.event",
    "holdfast.lock",
    "holdfast.semaphore",
}
if holdfast.accelerated:
    TASK_TIER.add("holdfast._speedups")

PROGRAM = """
import json, sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
import holdfast
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_import_loads_the_task_tier_and_the_standard_library_alone():
    # -I and -S: without site-packages, what they import at the start, and the variables of this environment. All
    # that could be imported is there, though: the folder is the one that holdfast was imported from here.
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROGRAM, str(Path(holdfast.__file__).parents[1])],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stderr == ""
    loaded = set(json.loads(run.stdout))
    assert {name for name in loaded if name.partition(".")[0] == "holdfast"} == TASK_TIER
    others = {name.partition(".")[0] for name in loaded} - {"holdfast"}
    assert others - {"_missing_stdlib_info"} <= sys.stdlib_module_names  # that one traceback has, on 3.15 and later
