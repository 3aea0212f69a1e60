"""What the lab says when it cannot do what a test asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL_SECONDS = 0.01


class LabError(AssertionError):
    """The lab could not do it, or what a test waited for did not happen in time."""


def wait_until(condition: Callable[[], T], timeout: float, what: str | Callable[[], str]) -> T:
    """Poll until `condition()` is true; return its value.

    `what` ends the sentence "waited N s for ..."; a callable is asked only on failure, so that it can
    tell what was there instead.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            text = what() if callable(what) else what
            raise LabError(f"waited {timeout:g} s in vain for {text}; last seen: {value!r}")
        time.sleep(POLL_SECONDS)
