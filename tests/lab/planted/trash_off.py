"""Planted bug: the gate starts rsync without --backup, so what a run replaces is gone."""

from collections.abc import Callable

from drcm.replication import rsyncserver
from drcm.replication.rsyncserver import Asked, Imposed

_right: Callable[[Asked, Imposed], list[str]] = rsyncserver.receive_argv


def receive_argv(asked: Asked, imposed: Imposed) -> list[str]:
    return [word for word in _right(asked, imposed) if not word.startswith("--backup")]


vars(rsyncserver)["receive_argv"] = receive_argv
