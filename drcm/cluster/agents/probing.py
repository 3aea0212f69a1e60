"""Asks a question a few times until somebody answers: what ARP and neighbour discovery share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any


async def ask(
    send: Callable[[], object], answer: Coroutine[Any, Any, str], timeout: float, count: int
) -> str | None:
    """Call `send` `count` times spread over `timeout` seconds; the first `answer`, or None without one."""
    listening = asyncio.create_task(answer)
    try:
        for _ in range(count):
            send()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout / count):
                    return await asyncio.shield(listening)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    return None
