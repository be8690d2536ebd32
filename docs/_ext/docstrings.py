"""Docstrings as they are written here, for autodoc: plain text and a little Markdown becomes reStructuredText.

- A code fence becomes a code block.
- A single backtick becomes two.
- A paragraph `name: text`, where `name` is an argument, goes into a list of the arguments.
- Paragraphs that begin with "Raises", "Cancellation:" and "Source:" get a heading.
- The name of an error of the package becomes a link.
- The arguments of a ParamSpec in a signature are shown as they are written.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

FENCE = re.compile(r"^(\s*)```(\w*)$")
HEADED = re.compile(r"^(Cancellation|Source|Raises)\b:?\s*")
ARGUMENT = re.compile(r"^(\*{0,2}[a-z_]\w*): (.*)$")


def arguments(thing: object) -> set[str]:
    """The names of the arguments of a function, or of the constructor of a class."""
    try:
        return set(inspect.signature(thing).parameters)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return set()


ERROR = re.compile(r"\b(EngineError|FormatError|LeaseLost|NameConflict|PrivateTmpWarning|SessionLost|StaleToken)\b")


def quoted(line: str) -> str:
    """The line with double backticks for single ones, and links to errors outside of them."""
    parts = re.split(r"(?<!`)`([^`]+)`(?!`)", line)
    plain = [ERROR.sub(r":py:exc:`~holdfast.cluster.\1`", part.replace("**", r"\*\*")) for part in parts[::2]]
    code = [f"``{part}``" for part in parts[1::2]]
    return "".join(text for pair in zip(plain, [*code, ""], strict=True) for text in pair)


def converted(lines: list[str], names: set[str]) -> list[str]:
    """The same text as reStructuredText."""
    result: list[str] = []
    fields: list[str] = []
    into = result
    in_fence = False
    for line in lines:
        fence = FENCE.match(line)
        argument = ARGUMENT.match(line)
        if fence:
            in_fence = not in_fence
            into += ["", f"{fence[1]}.. code-block:: {fence[2] or 'text'}", ""] if in_fence else [""]
        elif in_fence:
            into.append(f"    {line}" if line else "")
        elif argument and argument[1].lstrip("*") in names:
            into = fields
            fields += [argument[1].replace("*", r"\*"), f"    {quoted(argument[2])}"]
        elif into is fields and line:
            fields.append(f"    {quoted(line.strip())}")  # goes on with the argument before
        elif into is fields:
            into = result
            result.append("")
        else:
            result.append(heading(quoted(line), result))
    return [*result, "", *(["**Arguments**", "", *fields] if fields else []), ""]


def heading(line: str, before: list[str]) -> str:
    """The line, whose first word is set in bold if it begins one of the paragraphs that have a heading."""
    found = HEADED.match(line)
    if not found:
        return line
    if before and before[-1]:
        before.append("")
    return f"**{found[1]}:** {line[found.end() :]}" if found[1] != "Raises" else f"**Raises** {line[found.end() :]}"


def process(app: Any, what: str, name: str, thing: object, options: Any, lines: list[str]) -> None:
    lines[:] = converted(lines, arguments(thing))


def with_arguments_of(
    app: Any, what: str, name: str, thing: object, options: Any, signature: str | None, result: str | None
) -> tuple[str | None, str | None]:
    """The signature, with the name of a ParamSpec where autodoc has what nothing can read."""
    if signature is not None:
        signature = signature.replace("*args: ~typing.~P", "*args: P.args").replace(
            "kwargs: ~typing.~P", "kwargs: P.kwargs"
        )
    return signature, result


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-process-signature", with_arguments_of)
    return {"parallel_read_safe": True}
