"""Who may see the page: who knows the token, and has asked for this machine by a name of its own. Pure."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import Iterable

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@\s]+)(?::[0-9]{1,5})?", re.IGNORECASE)


def new_token() -> str:
    """A token that nobody guesses: 256 random bits."""
    return secrets.token_urlsafe(32)


def is_token(given: str | None, token: str) -> bool:
    """Whether they are the same. The time that this takes does not tell how much of it is right."""
    return given is not None and hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def is_loopback(address: str) -> bool:
    """Whether it is an IP address that only this machine reaches."""
    found = _address(address)
    return found is not None and found.is_loopback


class Hosts:
    """What the header Host may say.

    Against DNS rebinding: an attacker makes a name of his lead to this machine, and his page then sends that name. So
    only names of this machine are accepted, and IP addresses, which nobody can make lead elsewhere. The port may
    differ: an SSH tunnel has one of its own.
    """

    def __init__(self, names: Iterable[str], only_loopback: bool) -> None:
        """names: besides localhost. only_loopback: whether other addresses than those of loopback are refused."""
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names)}
        self._only_loopback = only_loopback

    def admit(self, headers: list[str]) -> bool:
        """Whether a request with these headers Host is meant for this machine."""
        matched = _HOST.fullmatch(headers[0]) if len(headers) == 1 else None
        if matched is None:
            return False
        host = matched[1].strip("[]").lower().rstrip(".")
        address = _address(host)
        if address is None or host in self._names:
            return host in self._names
        return address.is_loopback or not self._only_loopback


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
