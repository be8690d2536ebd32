"""The libraries whose suites are run: which release, what the tests need, and what is left out of them, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Library:
    """A library on PyPI whose sdist has its tests."""

    name: str
    version: str
    sha256: str
    """Of the sdist."""
    requires: tuple[str, ...]
    """What the tests need. All versions, also of what these need, are in constraints/NAME.txt."""
    extras: tuple[str, ...] = ()
    tests: tuple[str, ...] = ("tests",)
    """Those that come to what uses primitives, where there are so many that the rest would take too long."""
    options: tuple[str, ...] = ()
    """For pytest, which is not given the `addopts` of the library."""
    valkey: str | None = None
    """The option that tells the tests where a Valkey is, if they need one; {} is its URL."""
    environment: Mapping[str, str] = field(default_factory=dict)
    deselected: Mapping[str, str] = field(default_factory=dict)
    """Tests that are not run, by the beginning of their names, with the reason."""
    expected: Mapping[str, str] = field(default_factory=dict)
    """Tests that come to something else with holdfast, with the reason. If one does not any more, the run fails."""


LIBRARIES = (
    Library(
        name="aiocache",
        version="0.12.3",
        sha256="f528b27bf4d436b497a1d0d1a8f59a542c153ab1e37c3621713cb376d44c4713",
        extras=("memcached", "msgpack", "redis"),
        requires=("pytest", "pytest-asyncio", "pytest-mock"),
        tests=("tests/ut",),
        options=("--override-ini=asyncio_default_fixture_loop_scope=function",),
    ),
    Library(
        name="aiohttp",
        version="3.14.5",
        sha256="5558a7f5a05af9ecf744af91e5baefc436f93c9333e656c27ec253f9a6bbe178",
        requires=(
            *("blockbuster", "freezegun", "proxy.py", "pytest", "pytest-codspeed", "pytest-cov", "pytest-mock"),
            *("pytest-xdist", "setuptools", "trustme", "zlib_ng"),
        ),
        tests=tuple(
            f"tests/test_{name}.py"
            for name in ("client_ws_functional", "web_sendfile_functional", "web_server", "web_websocket_functional")
        ),
        options=("-m", "not dev_mode and not autobahn and not internal"),
    ),
    Library(
        name="aiojobs",
        version="1.4.0",
        sha256="463665c75d1fcc46c78d44375c1034abf5e3f087894b0fc5ec4dd16ef90fdc98",
        extras=("aiohttp",),
        requires=("pytest", "pytest-aiohttp"),
        options=("--asyncio-mode=auto",),
    ),
    Library(
        name="anyio",
        version="4.16.0",
        sha256="59bb03251907983d1603d27c3087ddb1e93299ea2163adcdba37899a4fb12ffb",
        extras=("trio",),
        requires=("blockbuster", "hypothesis", "psutil", "pytest", "pytest-mock", "trustme", "truststore", "uvloop"),
        tests=tuple(f"tests/test_{name}.py" for name in ("from_thread", "synchronization", "taskgroups", "to_thread")),
        # On Trio there is nothing to compare.
        options=("-p", "no:asyncio", "-p", "no:trio", "-k", "not trio"),
    ),
    Library(
        name="asyncssh",
        version="2.24.1",
        sha256="efcd36e9b35f79873535b06444a7c9b0a3c61d97081b208c7fdd3fd8a40f1eca",
        extras=("bcrypt", "fido2", "ifaddr", "pyOpenSSL"),
        requires=("aiofiles", "pytest", "setuptools", "uvloop"),
        tests=("tests/test_channel.py", "tests/test_process.py", "tests/test_stream.py"),
    ),
    Library(
        name="gql",
        version="4.4.0",
        sha256="e54fe470d51347ceb46a04fc88c5553695d2d8c86b05bef13aeee8b8f2d5f61a",
        extras=("test",),
        requires=(),
        options=("--asyncio-mode=auto",),
    ),
    Library(
        name="httpcore",
        version="1.0.9",
        sha256="6e34463af53fd2ab5d807f399a9b45ea31c3dfa2276f15a2c3f00afff6e176e8",
        extras=("asyncio", "http2", "socks", "trio"),
        requires=("pytest", "pytest-httpbin", "pytest-trio"),
    ),
    Library(
        name="hypercorn",
        version="0.18.0",
        sha256="d63267548939c46b0247dc8e5b45a9947590e35e64ee73a23c074aa3cf88e9da",
        extras=("h3", "trio"),
        requires=("httpx", "hypothesis", "mock", "pytest", "pytest-asyncio", "pytest-trio"),
        options=("--ignore=tests/trio",),  # where there is nothing to compare
    ),
    Library(
        name="janus",
        version="2.0.0",
        sha256="0970f38e0e725400496c834a368a67ee551dc3b5ad0a257e132f5b46f2e77770",
        requires=("pytest", "pytest-asyncio", "pytest-benchmark"),
        options=("--benchmark-disable",),
    ),
    Library(
        name="kopf",
        version="1.45.2",
        sha256="5baa180cfdebe1c5095d2a0a96d7d91825b6920541a0825c55719c36abb0054f",
        requires=(
            *("certbuilder", "certvalidator", "freezegun", "kmock", "looptime", "pyngrok", "pytest", "pytest-aiohttp"),
            *("pytest-asyncio", "pytest-cov", "pytest-mock"),
        ),
        tests=tuple(
            f"tests/{folder}"
            for folder in (
                *("authentication", "observation", "orchestration", "peering", "primitives", "reactor", "running"),
                *("timing", "utilities"),
            )
        ),
        options=("--looptime",),
    ),
    Library(
        name="mode-streaming",
        version="0.7.1",
        sha256="623ef23f14c7a9cd525c7a0bff16f64a9ddb15f4d62909921c1026a69f20d7d1",
        requires=("freezegun", "hypothesis", "pytest==8.0.2", "pytest-asyncio==0.21.1", "pytz", "yarl"),
        tests=("tests/unit", "tests/functional"),
    ),
    Library(
        name="python-engineio",
        version="4.15.1",
        sha256="1a412e798a90c64fabe7b20798939ae6d4a03f34da8a33d5a21a25a8bbbc3612",
        extras=("client", "asyncio_client"),
        requires=("pytest", "pytest-asyncio", "tornado"),
    ),
    Library(
        name="python-socketio",
        version="5.18.1",
        sha256="07ab0e7c94a52833a67af1dc05958ad6fb0de69adc87de9198a61b22588c40d4",
        extras=("client", "asyncio_client"),
        requires=("msgpack", "pytest", "pytest-asyncio", "redis", "simple-websocket", "uvicorn", "valkey"),
        deselected={
            "tests/async/test_admin.py": "a server on port 8900 for each test, where the one before may still be",
            "tests/common/test_admin.py": "the same",
        },
    ),
    Library(
        name="redis",
        version="8.1.0",
        sha256="6e1a19beef9225c83efd689c7e6b7da2d5215b1f42cd13b7fc3714d0a09c7b25",
        requires=("numpy", "pybreaker", "pytest", "pytest-asyncio", "xxhash"),
        tests=tuple(
            f"tests/test_asyncio/test_{name}.py"
            for name in ("connect", "connection", "connection_pool", "lock", "pipeline", "pubsub", "retry")
        ),
        valkey="--redis-url={}/0",
    ),
    Library(
        name="starlette",
        version="1.10.0",
        sha256="b8399098d4c1e3522734f7235dc79b1fc967f96cf139c81e0fa30479e0685f9b",
        extras=("full",),
        requires=("blockbuster", "importlib-metadata", "opentelemetry-sdk", "pytest", "pytest-codspeed", "trio"),
    ),
    Library(
        name="taskiq",
        version="0.13.0",
        sha256="7d56609a6c5a20b0c9da67e9f310ec9640266f620b8f81880bccd5f16913e687",
        extras=("cbor", "metrics", "msgpack", "opentelemetry", "orjson", "reload", "uv", "zmq"),
        requires=("freezegun", "opentelemetry-test-utils", "polyfactory", "pytest"),
    ),
    Library(
        name="uvicorn",
        version="0.54.0",
        sha256="a2e33cbfaa0306f8e6b0c13e0cb89d7d7a2da3e62b90c66e18c33d9807b28620",
        extras=("standard",),
        requires=(
            *("a2wsgi", "coverage", "cryptography", "httpx2", "pytest", "pytest-codspeed", "pytest-mock", "trustme"),
            *("wsproto", "zttp"),
        ),
    ),
)
