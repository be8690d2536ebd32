"""holdfast beside asyncio, anyio, aiologic and trio: `python -m benchmarks`."""
