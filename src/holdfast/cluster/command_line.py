"""What this process was started with, as others may read it."""

from __future__ import annotations

import os
import re
import shlex
import sys

LONGEST = 200
_USER_IN_URL = re.compile(r"(?<=://)[^\s/?#'\"]*@")
_PASSWORD_IN_URL = re.compile(r"(?<=[?&])(password|passwd|pwd|username)=[^\s&#'\"]*", re.IGNORECASE)


def command_line() -> str:
    """The command line, at most 200 characters of it, with no names and passwords of users in its URLs."""
    text = os.fsencode(shlex.join(sys.orig_argv)).decode(errors="replace")  # whatever the locale says
    return without_passwords(text)[:LONGEST]


def without_passwords(text: str) -> str:
    """The text, its URLs without users and passwords."""
    return _PASSWORD_IN_URL.sub(r"\1=...", _USER_IN_URL.sub("", text))
