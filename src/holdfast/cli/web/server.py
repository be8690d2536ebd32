"""The HTTP side of the page: who may ask, what there is to ask for, and what browsers are told about the answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from typing import Final, NoReturn

from aiohttp import web
from aiohttp.http import HttpProcessingError

from holdfast.cli.failure import Failure
from holdfast.cluster.errors import EngineError, SessionLost

from .access import Hosts, is_token
from .watched import Watched

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

METHODS = "GET", "HEAD"
GRACE = 1.0
"""Seconds that requests under way have at the end."""
PAGE: Final = {
    "": ("index.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS: Final = {
    # Nothing but the files of this folder: names are chosen by others, and none of them must become a script.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "holdfast",
}
NO_TOKEN = "This needs the token: open the URL that `holdfast web` has printed.\n"


def application(
    watched: Watched, token: str, hosts: Hosts, cookie: str, over: asyncio.Future[NoReturn]
) -> web.Application:
    """The page as an application of aiohttp's.

    token: what a request must bring, in the query, in a cookie or as `Authorization: Bearer`.
    hosts: what the header Host may say.
    cookie: the name of the cookie that has the token once the page was opened.
    over: gets the SessionLost by which a request has learned that the session is over.
    """

    def may_see(request: web.Request) -> bool:
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        given = [request.query.get("token"), request.cookies.get(cookie), bearer if scheme == "Bearer" else None]
        return any(is_token(each, token) for each in given)

    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not hosts.admit(request.headers.getall("Host", [])):
            return _text("The header Host does not name this machine.\n", 403)
        if request.method not in METHODS:
            return _text("The page is read-only.\n", 405, Allow=", ".join(METHODS))
        if not may_see(request):
            return _text(NO_TOKEN, 401, **{"WWW-Authenticate": "Bearer"})
        return await handler(request)

    async def page(request: web.Request) -> web.StreamResponse:
        if "token" in request.query and not request.match_info["file"]:  # it must not stay in the URL
            answer = web.Response(status=303, headers={"Location": "./"})
            answer.set_cookie(cookie, token, httponly=True, samesite="Strict", path="/")
            return answer
        body, content_type = contents[request.match_info["file"]]
        return web.Response(body=body, content_type=content_type, charset="utf-8")

    async def overview(request: web.Request) -> web.StreamResponse:
        after = request.query.get("after", "0")
        if not (after.isdecimal() and len(after) < 20):
            return _text("after is the number of a look.\n", 400)
        return await told(watched.overview(int(after)))

    async def detail(request: web.Request) -> web.StreamResponse:
        return await told(watched.detail(request.query.get("name", "")))

    async def graph(request: web.Request) -> web.StreamResponse:
        return await told(watched.graph(request.query.get("name")))

    async def told(asked: Awaitable[bytes]) -> web.Response:
        try:
            return web.Response(body=await asked, content_type="application/json")
        except KeyError:
            return _text("Nobody uses this name.\n", 404)
        except SessionLost as exc:
            if not over.done():
                over.set_exception(exc)
            return _text(f"{exc}\n", 503)
        except (EngineError, Failure) as exc:
            return _text(f"{exc}\n", 503)

    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS)

    folder = files(__package__) / "page"
    contents = {path: ((folder / file).read_bytes(), content_type) for path, (file, content_type) in PAGE.items()}
    made = web.Application(middlewares=[guard])
    made.on_response_prepare.append(mark)
    made.router.add_get(f"/{{file:{'|'.join(PAGE)}}}", page)
    made.router.add_get("/api/overview", overview)
    made.router.add_get("/api/name", detail)
    made.router.add_get("/api/graph", graph)
    return made


def _text(text: str, status: int, **headers: str) -> web.Response:
    return web.Response(text=text, status=status, headers=headers)


@contextlib.asynccontextmanager
async def served(made: web.Application, listening: socket.socket) -> AsyncIterator[None]:
    """Serve the application at a socket, while the body runs. Signals are left to the caller.

    A request whose client has gone is cancelled.
    """
    runner = web.AppRunner(
        made,
        handle_signals=False,
        access_log=None,
        logger=_logger(),
        handler_cancellation=True,
        shutdown_timeout=GRACE,
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        yield
    finally:
        await runner.cleanup()


def _logger() -> logging.Logger:
    """What aiohttp logs to, but for requests that are not HTTP: anybody could fill stderr with them."""
    made = logging.getLogger("holdfast.cli.web")
    made.addFilter(_is_a_fault_here)
    return made


def _is_a_fault_here(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
