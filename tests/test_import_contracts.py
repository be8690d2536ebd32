"""The rules for imports in pyproject.toml, which `make check` applies, reach every package."""

import tomllib
from pathlib import Path

import holdfast

ROOT = Path(__file__).parents[1]
RULES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def test_no_package_is_left_out() -> None:
    package = Path(holdfast.__file__).parent
    packages = {".".join(file.parent.relative_to(package.parent).parts) for file in package.rglob("__init__.py")}
    kept = {name for rule in RULES if rule["type"] == "forbidden" for name in rule["forbidden_modules"]}
    assert kept == packages
    assert any(rule["type"] == "acyclic_siblings" and rule["ancestors"] == ["holdfast"] for rule in RULES)
