"""Tell what ThreadSanitizer has reported, and fail if a place in the compiled twin is among it.

    python tests/free_threaded/reports.py FOLDER

FOLDER has what its `log_path` wrote. Each report names two places that touched the same word at once. A report is ours
if one of the two is in a file of `tasks/speedups/` itself. The rest is the interpreter's: its futures, for instance,
are not for two threads.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

OURS = "/tasks/speedups/"


def reports(folder: Path) -> list[str]:
    return [
        report
        for log in sorted(folder.iterdir())
        for report in re.findall(r"^WARNING: ThreadSanitizer.*?^SUMMARY.*?$", log.read_text(), re.MULTILINE | re.DOTALL)
    ]


def places(report: str) -> list[str]:
    """Where the two were: the first line of each list of callers, before what tells of the memory and the threads."""
    accesses = re.split(r"^  (?:Location|Mutex|Thread) ", report, maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(r"^    #0 (.*?)(?: \(|$)", accesses, re.MULTILINE)


def main() -> int:
    found = reports(Path(sys.argv[1]))
    ours = [report for report in found if any(OURS in place for place in places(report))]
    for report in ours:
        print(report)
    for pair, times in Counter(
        " / ".join(sorted(places(report))) for report in found if report not in ours
    ).most_common():
        print(f"{times} x in the interpreter: {pair}")
    print(f"{len(found)} reports, {len(ours)} of them of the compiled twin")
    return bool(ours)


if __name__ == "__main__":
    sys.exit(main())
