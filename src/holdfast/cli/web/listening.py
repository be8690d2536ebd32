"""The socket at which the page is served, and how others name it."""

from __future__ import annotations

import errno
import ipaddress
import socket

from holdfast.cli import exit_codes
from holdfast.cli.failure import Failure


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at the first address of the host. port: 0 for a free one.

    Raises Failure if there is no such address here, or the port is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as exc:
        raise Failure(f"--host {host!r} is no address and no known name: {exc}", exit_codes.USAGE) from None
    both = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server(address[:2], family=family, dualstack_ipv6=both)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            message = f"port {port} of {host} is taken; choose another one with --port, or a free one with --port 0"
            raise Failure(message, exit_codes.FAILED) from None
        message = f"cannot listen at port {port} of {host}: {exc.strerror or exc}"
        raise Failure(message, exit_codes.FAILED) from None


def address_of(listening: socket.socket) -> tuple[str, int]:
    """The IP address and the port."""
    address, port = listening.getsockname()[:2]
    return address, port


def origin(address: str, port: int) -> str:
    """The beginning of the URL; with the name of this machine if the socket listens at all its addresses."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    host = socket.gethostname() if parsed.is_unspecified else address
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
