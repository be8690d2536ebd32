"""Every primitive under every schedule, within bounds, and beside asyncio's."""
