"""The servers that a session is to use: where their members are, and how one logs in there. Comes of a URL."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from holdfast.cluster.errors import EngineError

PORT = 2379
_OLDEST = 3, 4
"""The first version of etcd that has everything that is used here."""
_FILES = "cacert", "cert", "key"


@dataclass(frozen=True)
class Server:
    """One server of etcd, that is, a cluster of members."""

    members: tuple[tuple[str, int], ...]
    """Host and port of each."""
    user: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        """What messages call it; without a password."""
        return "etcd at " + ",".join(shown(host, port) for host, port in self.members)


def shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def server_for_url(url: str) -> Server:
    """Read etcd://USER:PASSWORD@HOST:PORT,HOST:PORT/, or etcds:// for TLS.

    After '?' there may be `cacert`, `cert` and `key`: files in PEM, of those that are trusted, and of this client.

    Raises ValueError if the URL is wrong. No message shows what may be a part of the password.
    """
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        raise _wrong("no '//' before the host")
    rest, _, query = rest.partition("?")
    hosts, _, path = rest.partition("/")
    who, at, where = hosts.rpartition("@")
    user, colon, password = who.partition(":")
    if path or "#" in url:
        raise _wrong("something after the hosts and '/'; use namespace= to keep programs apart")
    if at and not (user and colon and password):
        raise _wrong("no password, or no name of a user, before '@'")
    members = tuple(_member(each) for each in where.split(","))
    options = parse_qsl(query, keep_blank_values=True)
    files = dict(options)
    if len(files) < len(options) or not files.keys() <= {*_FILES}:
        raise _wrong(f"an option after '?' that is not one of {', '.join(_FILES)}, or is there twice")
    if files and scheme != "etcds":
        raise _wrong("files for TLS, which only etcds:// has")
    tls = _tls(files) if scheme == "etcds" else None
    return Server(members, unquote(user), unquote(password), tls)


def _member(where: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{where}")
        port = parts.port or PORT
    except ValueError:
        raise _wrong("a wrong host, or a wrong port after it and ':'") from None
    if not parts.hostname:
        raise _wrong("no host")
    return parts.hostname, port


def _tls(files: dict[str, str]) -> ssl.SSLContext:
    if ("cert" in files) != ("key" in files):
        raise _wrong("only one of 'cert' and 'key'")
    try:
        context = ssl.create_default_context(cafile=files.get("cacert"))
        if "cert" in files:
            context.load_cert_chain(files["cert"], files["key"])
    except (OSError, ValueError) as exc:
        raise ValueError(f"a file that the URL names after '?' cannot be used for TLS: {exc}") from exc
    context.set_alpn_protocols(["http/1.1"])
    return context


def _wrong(what: str) -> ValueError:
    return ValueError(
        f"the URL has {what}; write etcd://HOST:PORT,HOST:PORT/, with USER:PASSWORD@ before the first host where one "
        "has to log in, and %23, %2F, %3A, %3F and %40 for '#', '/', ':', '?' and '@' in a password"
    )


def check_version(version: str, where: str) -> None:
    """Raise EngineError if the server is too old."""
    try:
        is_old = tuple(map(int, version.split(".")[:2])) < _OLDEST
    except ValueError:
        is_old = True
    if is_old:
        raise EngineError(f"{where} is etcd {version}; holdfast needs etcd 3.4 or later")
