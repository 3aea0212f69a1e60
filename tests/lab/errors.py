"""What the lab says when it cannot do what a test asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL_SECONDS = 0.01
PATIENCE = 60.0  # seconds; what comes at once costs nothing, and on a machine that starves it comes late


class LabError(AssertionError):
    """The lab could not do it, or what a test waited for did not happen in time."""


def wait_until(
    condition: Callable[[], T], timeout: float, what: str | Callable[[], str], *, least: float = PATIENCE
) -> T:
    """Poll until `condition()` is true; return its value.

    `timeout`: seconds that should do; `least` are given in any case. Who waits for what may well not come
    says `least` = 0. `what` ends the sentence "waited N s for ..."; a callable is asked only on failure, so
    that it can tell what was there instead.
    """
    timeout = max(timeout, least)
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            text = what() if callable(what) else what
            raise LabError(f"waited {timeout:g} s in vain for {text}; last seen: {value!r}")
        time.sleep(POLL_SECONDS)
