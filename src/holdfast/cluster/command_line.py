"""The command line of this process, as other users may read it in reports."""

from __future__ import annotations

import os
import re
import shlex
import sys

LONGEST = 200
_USER_IN_URL = re.compile(r"(?<=://)[^\s/?#'\"]*@")
_PASSWORD_IN_URL = re.compile(r"(?<=[?&])(password|passwd|pwd|username)=[^\s&#'\"]*", re.IGNORECASE)


def command_line() -> str:
    """The first 200 characters of the command line, without user names and passwords in its URLs."""
    text = os.fsencode(shlex.join(sys.orig_argv)).decode(errors="replace")  # whatever the locale says
    return without_passwords(text)[:LONGEST]


def without_passwords(text: str) -> str:
    """The text, with no user names and passwords in its URLs."""
    return _PASSWORD_IN_URL.sub(r"\1=...", _USER_IN_URL.sub("", text))
