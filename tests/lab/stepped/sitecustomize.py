"""Loaded by Python on hosts whose clock was stepped: sleeping works there again.

Python 3.11 sleeps by clock_nanosleep until an absolute monotonic time; libfaketime subtracts its faked wall
time from that, and the kernel says EINVAL. select() it leaves alone.
"""

import select
import time
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex) -> None:
    wanted = float(seconds)
    if wanted < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], wanted)


time.sleep = _sleep
