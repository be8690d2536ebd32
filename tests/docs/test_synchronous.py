"""The recipes for Django and Celery in docs/howto/synchronous.md and docs/deployment.md, where these are installed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import holdfast

DOCS = Path(__file__).parents[2] / "docs"
SECONDS = 90


def write_files(page: str, folder: Path) -> None:
    """The files that a page shows."""
    for block in re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL):
        if name := re.match(r"# (\w+\.py)\n", block):
            (folder / name[1]).write_text(block)


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {
        "HOLDFAST_URL": f"sqlite://{folder}/locks",
        "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)]),
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
    }


def run(folder: Path, program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        cwd=folder,
        env=environment(folder),
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(importlib.util.find_spec("django") is None, reason="Django is not installed")
def test_django(tmp_path: Path) -> None:
    """In a process that is forked after the application was loaded and used, as by `gunicorn --preload`."""
    write_files("howto/synchronous.md", tmp_path)
    program = """
        import json, os, sys, types
        import django
        from django.conf import settings
        from django.urls import path

        urls = sys.modules["urls"] = types.ModuleType("urls")
        settings.configure(ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], SECRET_KEY="a test's")
        django.setup()
        import holdfast, views
        urls.urlpatterns = [path("rebuild", views.rebuild)]
        from django.test import Client

        def ask():
            return Client().get("/rebuild")

        tokens = [ask().json()["token"]]
        identity = views.session.id
        child = os.fork()
        if not child:
            try:
                answer = ask()
                assert answer.json()["token"] > tokens[0], answer.content
                assert views.session.id != identity
                print("the worker has answered", flush=True)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        tokens.append(ask().json()["token"])
        assert tokens == sorted(tokens) and views.session.id == identity
        with holdfast.connect().sync as other, other.lock("rebuild"):
            within = views.session.lock("rebuild").within
            type(views.session.lock("rebuild")).within = lambda lock, seconds: within(0)
            assert ask().status_code == 409
        views.session.close()
        assert ask().status_code == 503
    """
    assert run(tmp_path, program) == "the worker has answered\n"


@pytest.mark.skipif(importlib.util.find_spec("celery") is None, reason="Celery is not installed")
@pytest.mark.parametrize("pool", ["eager", "prefork", "threads"])
def test_celery(tmp_path: Path, pool: str) -> None:
    """The task of the page, in this process and in workers that Celery starts. The broker is a folder."""
    write_files("deployment.md", tmp_path)
    tasks = (tmp_path / "tasks.py").read_text()
    folders = {name: tmp_path / name for name in ("queue", "done")}
    for folder in folders.values():
        folder.mkdir()
    options = {
        "broker_url": "filesystem://",
        "broker_transport_options": {"data_folder_in": str(folders["queue"]), "data_folder_out": str(folders["queue"])},
        "result_backend": f"file://{folders['done']}",
        "task_always_eager": pool == "eager",
        "worker_hijack_root_logger": False,
    }
    added = f"""

    app.conf.update(**{options!r})
    session.lock("used before the fork").locked()


    def build(index, token):
        import os
        with open("built", "a") as file:
            print(index, token, os.getpid(), file=file)
    """
    (tmp_path / "tasks.py").write_text(tasks + textwrap.dedent(added))
    worker = None
    if pool != "eager":
        arguments = [
            "-A",
            "tasks",
            "worker",
            "--pool",
            pool,
            "--concurrency",
            "2",
            "--without-mingle",
            "--without-gossip",
        ]
        with (tmp_path / "log").open("w") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "celery", *arguments],
                cwd=tmp_path,
                env=environment(tmp_path),
                stdout=log,
                stderr=log,
            )
    program = f"""
        import tasks
        results = [tasks.rebuild.delay(1) for _ in range(6)]
        for result in results:
            result.get(timeout={SECONDS - 10})
        tasks.session.close()
    """
    try:
        run(tmp_path, program)
        if worker is not None:
            worker.terminate()
            worker.wait(SECONDS)
    except BaseException:
        print((tmp_path / "log").read_text() if worker is not None else "")
        raise
    finally:
        if worker is not None and worker.poll() is None:
            worker.kill()
            worker.wait()
    built = [line.split() for line in (tmp_path / "built").read_text().splitlines()]
    assert [index for index, _, _ in built] == ["1"] * 6
    tokens = [int(token) for _, token, _ in built]
    assert tokens == sorted({*tokens})
    with holdfast.connect(f"sqlite://{tmp_path}/locks").sync as session:
        assert session.lock("index:1").acquire(blocking=False)
