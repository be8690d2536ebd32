"""Workers that take turns at one printer, with metrics for Prometheus.

    python examples/measured_workers.py --workers 4 --pages 25 --port 8000

The workers of all processes of this machine share the printer. Meanwhile
http://127.0.0.1:8000/metrics shows who waits and for how long. Three workers of
a process may ask for the printer at a time. The others wait for a seat, which
is a permit of a semaphore of tasks that has a name. Start it in two terminals,
with two ports: each process has its own numbers. examples/grafana/holdfast.json
is a dashboard for them. It needs prometheus-client.
"""

import argparse
import asyncio

from prometheus_client import CollectorRegistry, start_http_server

import holdfast
import holdfast.cluster
from holdfast.instrumentation import PrometheusHook, named

PAGE = 0.01
"""Seconds that the printer needs."""
SEATS = 3
"""How many workers of this process ask for the printer at a time."""


async def work(session: holdfast.cluster.Session, seats: holdfast.Semaphore, pages: int) -> None:
    printer = session.lock("printer")
    for _ in range(pages):
        async with seats, printer:
            await asyncio.sleep(PAGE)


async def main(workers: int, pages: int) -> None:
    seats = named(holdfast.Semaphore(SEATS), "seats")
    async with holdfast.connect() as session, asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work(session, seats, pages))


def summary(registry: CollectorRegistry) -> str:
    """What a dashboard would show, from the same numbers."""
    printer = {"kind": "lock", "name": "printer"}
    granted = {**printer, "outcome": "granted"}
    printed = registry.get_sample_value("holdfast_hold_seconds_count", printer) or 0
    waited = registry.get_sample_value("holdfast_wait_seconds_count", granted) or 0
    seconds = registry.get_sample_value("holdfast_wait_seconds_sum", granted) or 0
    return f"{printed:.0f} pages, {waited:.0f} waits of {seconds / max(waited, 1) * 1000:.0f} ms on average"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="how many workers print (4)")
    parser.add_argument("--pages", type=int, default=25, metavar="N", help="how many pages each of them prints (25)")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="where the metrics are served (8000)")
    arguments = parser.parse_args()
    registry = CollectorRegistry()
    holdfast.instrument(PrometheusHook(registry))
    start_http_server(arguments.port, "127.0.0.1", registry)
    asyncio.run(main(arguments.workers, arguments.pages))
    print(summary(registry))
