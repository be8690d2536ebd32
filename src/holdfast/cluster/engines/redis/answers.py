"""Reads the answers of a server from the bytes that come, in both versions of its protocol (RESP2 and RESP3). Pure."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

_END = b"\r\n"
_MORE = object()
"""In place of an answer, where more bytes are needed."""
_CUT_SHORT = object()
"""In place of an answer, where nothing can be read any more."""
_WORDS = {b"_": None, b"#t": True, b"#f": False}


class _Unasked(list[Any]):
    """What the server says without being asked."""


class Answers:
    """Takes bytes as they come, and gives each answer on as soon as it is complete.

    An answer is bytes, an int, None, a list of answers, or an exception.
    """

    def __init__(
        self,
        give: Callable[[Any], None],
        error: Callable[[str], Exception],
        give_unasked: Callable[[Any], None] = lambda _: None,
    ) -> None:
        """give: is called with each answer. error: makes an exception of what the server says.

        give_unasked: is called with what the server says unasked, which it does in RESP3 only.
        """
        self._give = give
        self._give_unasked = give_unasked
        self._error = error
        self._bytes = b""
        self._at = 0  # what stands before this has been read
        self._reading = self._read_all()

    def feed(self, data: bytes) -> None:
        """Take more bytes. Raises ValueError if they are not what a server sends."""
        if self._at == len(self._bytes):
            self._bytes, self._at = data, 0
        else:
            self._bytes, self._at = self._bytes[self._at :] + data, 0
        while (answer := next(self._reading, _CUT_SHORT)) is not _MORE:
            if answer is _CUT_SHORT:
                raise ValueError("a signal handler has raised where an answer was read")
            # Not where it is read, as it may raise what a signal handler has raised.
            if type(answer) is _Unasked:
                self._give_unasked(answer)
            else:
                self._give(answer)

    def _read_all(self) -> Generator[Any]:
        """Each answer; _MORE where there is none yet."""
        while True:
            while self._at == len(self._bytes):
                yield _MORE
            yield (yield from self._read())

    def _read(self) -> Generator[Any, None, Any]:
        while (end := self._bytes.find(_END, self._at)) < 0:
            yield _MORE
        kind, rest = self._bytes[self._at : self._at + 1], self._bytes[self._at + 1 : end]
        self._at = end + 2
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        if kind == b"-":
            return self._error(rest.decode(errors="replace"))
        if kind in b"$=!":
            length = int(rest)
            if length < 0:
                return None
            while len(self._bytes) < self._at + length + 2:
                yield _MORE
            text = self._bytes[self._at : self._at + length]
            self._at += length + 2
            return text if kind == b"$" else text[4:] if kind == b"=" else self._error(text.decode(errors="replace"))
        if kind in b"*~>%":
            count = int(rest)
            if count < 0:
                return None
            answers = []
            for _ in range(2 * count if kind == b"%" else count):
                answer = yield from self._read()
                answers.append(answer)
            return _Unasked(answers) if kind == b">" else answers
        if kind in b",(":
            return rest
        if kind + rest not in _WORDS:
            raise ValueError(f"{kind + rest!r} is no answer")
        return _WORDS[kind + rest]
