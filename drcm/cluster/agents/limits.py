"""How long the actions of a resource may take, and how long its stop may once the lease has ended."""

from __future__ import annotations

from dataclasses import dataclass

from drcm.config.model import Server

START_SECONDS = 120.0  # a database's recovery
WATCH_SECONDS = 60.0
STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds as an operator set them. None: what the agent says of itself (OCF), else the defaults above."""

    start: float | None = None
    stop: float | None = None
    watch: float | None = None

    def starting(self, own: float | None = None) -> float:
        """For a start, where the agent's `own` limit may be unknown."""
        return self.start or own or START_SECONDS

    def stopping(self, own: float | None = None) -> float:
        return self.stop or own or STOP_SECONDS

    def watching(self, own: float | None = None) -> float:
        return self.watch or own or WATCH_SECONDS


USUAL = Limits()


def stop_seconds(server: Server) -> float:
    """How long the keeper lets a stop run: from T_lease to T_dead - 2 intervals (DESIGN.md rule 3)."""
    return max(0.1, server.dead_seconds - server.lease_seconds - 2 * server.keep_alive_interval)
