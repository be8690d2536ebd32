"""A `holdfast web` in a process of its own, and questions to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
from urllib.parse import parse_qs, urlsplit

from interpreters import BOUND

from .running import started


class Page:
    """A `holdfast web` that runs, and its URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        parsed = urlsplit(url)
        assert parsed.hostname is not None
        assert parsed.port is not None
        self.host, self.port = parsed.hostname, parsed.port
        (self.token,) = parse_qs(parsed.query)["token"]

    def ask(self, path, token=True, method="GET", **headers):
        """The response, with its body as `body`. Headers with a value of None are not sent."""
        sent = {"Host": f"{self.host}:{self.port}"} | ({"Authorization": f"Bearer {self.token}"} if token else {})
        with contextlib.closing(http.client.HTTPConnection(self.host, self.port, timeout=BOUND)) as connection:
            connection.putrequest(method, path, skip_host=True)
            for name, value in (sent | headers).items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            response.body = response.read()
            return response

    def told(self, path):
        response = self.ask(path)
        assert response.status == 200, response.body
        return json.loads(response.body)


@contextlib.contextmanager
def page(*arguments, **options):
    with started("web", "--port", "0", "--every", "0.02", *arguments, **options) as process:
        url = process.stdout.readline()
        assert url.startswith("http://127.0.0.1:"), (url, process.stderr.read() if process.poll() else "")
        yield Page(url.strip())
        process.send_signal(signal.SIGTERM)
        assert process.wait(BOUND) == 128 + signal.SIGTERM
        assert process.stderr.read() == ""
