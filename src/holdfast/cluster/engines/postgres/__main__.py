"""Prints the statements that make the schema, for an administrator to run.

python -m holdfast.cluster.engines.postgres [--schema NAME] [--role ROLE]
"""

from __future__ import annotations

import argparse
import sys

from .ddl import script


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m holdfast.cluster.engines.postgres", description=__doc__)
    parser.add_argument("--schema", default="holdfast", help="its name, by default holdfast")
    parser.add_argument("--role", help="the user or group of the programs that use it")
    options = parser.parse_args()
    sys.stdout.write(script(options.schema, options.role) + "\n")


if __name__ == "__main__":
    main()
