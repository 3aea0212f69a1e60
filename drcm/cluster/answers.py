"""What the daemon answers on its control socket and over TLS (the table in ARCHITECTURE.md)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from drcm import __version__, clock
from drcm.cluster import events as ev
from drcm.cluster import moveanswers, picture
from drcm.cluster.messages import HoldState, SetView
from drcm.errors import EXIT_NO_PERMISSION, EXIT_USAGE, DrcmError

if TYPE_CHECKING:
    from drcm.cluster.daemon import Daemon

Request = dict[str, Any]
Answer = dict[str, Any]
Operation = Callable[[Request], Answer | Awaitable[Answer]]


class Answers:
    """Answers requests from the daemon's state. What changes something is an event for the engine."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._operations: dict[str, Operation] = {
            "ping": self._ping,
            "rstats": self._rstats,
            "status": self._status,
            "printcfg": self._printcfg,
            "cleanup": self._cleanup,
        }
        self._local: dict[str, Operation] = {
            "set": self._set,
            "reload": self._reload,
            "promote": self._promote,
            "move": self._move,
            "moves": self._moves,
            "confirm-stopped": self._confirm_stopped,
        }

    async def dispatch(self, request: Request, local: bool) -> Answer:
        """The answer to one request; DrcmError is sent as a refusal."""
        name = str(request.get("op"))
        if name in self._local and not local:
            raise DrcmError(f"{name}: only on this node, by root", "", EXIT_NO_PERMISSION)
        operation = self._operations.get(name) or self._local.get(name)
        if operation is None:
            known = ", ".join(sorted([*self._operations, *self._local]))
            raise DrcmError(f"{name}: no such operation", f"Known: {known}", EXIT_USAGE)
        answer = operation(request)
        return {"ok": True, **(await answer if isinstance(answer, Awaitable) else answer)}

    def _ping(self, request: Request) -> Answer:
        return {**self._who(), "version": __version__}

    def _who(self) -> Answer:
        return {"node": self._daemon.me.name, "address": self._daemon.me.keep_alive_ip}

    def _rstats(self, request: Request) -> Answer:
        lines = [_legacy_line(item) for item in self._running() if item["kind"] != "set"]
        return {**self._who(), "lines": lines or ["No CM resources started"]}

    def _running(self) -> list[Answer]:
        me = self._daemon.me.name
        return [
            {
                "home": group.partition("/")[0],
                "kind": member.partition(":")[0],
                "nickname": member.partition(":")[2],
                "since": _rfc3339(running.since),
                "backup": group.partition("/")[0] != me,
            }
            for (group, member), running in self._daemon.members.running.items()
            if running.up
        ]

    def _status(self, request: Request) -> Answer:
        daemon, now = self._daemon, clock.now()
        engine, cluster = daemon.engine, daemon.cluster
        witnesses = [node.name for node in cluster.nodes if node.witness]
        return {
            **self._who(),
            "cluster": cluster.replication.cluster_name,
            "version": __version__,
            "quorum": engine.spec.quorum.value,
            "failback": "auto" if engine.spec.failback else "manual",
            "leaving": engine.leaving_since is not None,
            "nodes": picture.nodes(engine, witnesses, now),
            "resources": picture.resources(engine, now),
            "running": self._running(),
            "sets": [self._set_status(s.name, now) for s in cluster.sets],
            "explain": picture.explain(engine),
            "counters": daemon.counters(),
        }

    def _set_status(self, name: str, now: float) -> Answer:
        daemon = self._daemon
        engine, sync_set = daemon.engine, daemon.cluster.set(name)
        role, reason = picture.role(engine, name, now)
        view, newest = engine.views.get(name), engine.situation().newest_head(name, now)
        good, age = daemon.sets.runs.last_good.get(name), daemon.sets.runs.lateness.age(name)
        return {
            "name": name,
            "primary": sync_set.primary,
            "backups": list(sync_set.backups),
            "role": role,
            "reason": reason,
            "writer": newest.writer if newest else "",
            "generation": newest.n if newest else 0,
            "generation_id": newest.id if newest else "",
            "run": view.pos_run if view else "",
            "position": view.pos_n if view else 0,
            "failback": view.failback if view else "",
            "problem": (view.problem if view else "") or (reason if role == "diverged" else ""),
            "last_good": _rfc3339(good) if good else None,
            "lag_seconds": None if age is None else round(age, 1),
            "targets": [_target(view, n) for n in sync_set.nodes if n != daemon.me.name],
        }

    def _set(self, request: Request) -> Answer:
        daemon, now = self._daemon, clock.now()
        engine, name = daemon.engine, str(request.get("name"))
        try:
            sync_set = daemon.cluster.set(name)
        except KeyError:
            known = ", ".join(s.name for s in daemon.cluster.sets) or "none"
            cure = f"Sets of cm.cfg: {known}. Edited since? Reload: systemctl reload drcm-server"
            raise DrcmError(f"{name}: the daemon knows no such set", cure, EXIT_USAGE) from None
        role, reason = picture.role(engine, name, now)
        newest = engine.situation().newest_head(name, now)
        peers = [n for n in sync_set.nodes if n in engine.membership.peers]
        return {
            **self._who(),
            "role": role,
            "reason": reason,
            "generation": newest.n if newest else 0,
            "targets": [n for n in peers if engine.membership.is_heard(n, now)],
            "quorum": engine.spec.quorum.value,
        }

    def _printcfg(self, request: Request) -> Answer:
        from drcm.config.report import printcfg_text

        return {**self._who(), "text": printcfg_text(self._daemon.cluster)}

    def _promote(self, request: Request) -> Answer:
        """`drcm-sync NAME --promote --accept-loss`: what was waited for is given up."""
        name, daemon = str(request.get("name")), self._daemon
        self._set(request)  # refuses an unknown name
        daemon.feed(ev.AcceptLoss(name))
        group = daemon.engine.spec.group_of(name)
        reasons, key = daemon.engine.care.reasons, group.key if group else ""
        return {"text": f"{name}: {reasons.get(key, 'accepted')}"}

    def _move(self, request: Request) -> Answer:
        """`drcm-sync --failover` or `--failback`; with `dry_run` only what would move, and what would not."""
        engine = self._daemon.engine
        found = moveanswers.find(engine, request)
        if not request.get("dry_run"):
            for move in moveanswers.begin(engine, found):
                self._daemon.feed(move)
        return {**self._who(), "orders": [moveanswers.told(engine, order) for order in found]}

    def _moves(self, request: Request) -> Answer:
        """How far every move from this node is, or how it ended."""
        journeys = self._daemon.engine.care.moving.journeys.values()
        return {**self._who(), "moves": [journey.told() for journey in journeys]}

    def _cleanup(self, request: Request) -> Answer:
        """`cleanup [KIND:NICKNAME]`: what failed was mended. Forgets only: it starts and stops nothing."""
        member = str(request.get("resource") or "")
        if member:
            self._known_resource(member)
        self._daemon.feed(ev.Cleanup(member))
        return {
            **self._who(),
            "text": f"{member or 'everything'}: failures, moves and refusals are forgotten",
        }

    def _confirm_stopped(self, request: Request) -> Answer:
        """`confirm-stopped KIND:NICKNAME`: a person has seen that what blocks its group is down."""
        member = str(request.get("resource") or "")
        self._known_resource(member)
        held = self._daemon.engine.care.holdings.values()
        blocked = [m for h in held if h.state is HoldState.BLOCKED for m in h.started]
        if member not in blocked:
            cure = (
                f"Blocked here: {', '.join(blocked) or 'nothing'}. Ask on the node that says so in cm_stat."
            )
            raise DrcmError(f"{member}: is not blocked on this node", cure, EXIT_USAGE)
        self._daemon.feed(ev.ConfirmStopped(member))
        return {**self._who(), "text": f"{member}: counts as stopped; another node may start it now"}

    def _known_resource(self, member: str) -> None:
        known = [m for g in self._daemon.engine.spec.groups for m in g.members if not m.startswith("set:")]
        if member not in known:
            cure = f"Resources of cm.cfg: {', '.join(dict.fromkeys(known)) or 'none'}"
            raise DrcmError(
                f"{member or '(nothing)'}: expected KIND:NICKNAME of a resource", cure, EXIT_USAGE
            )

    async def _reload(self, request: Request) -> Answer:
        return {"text": await self._daemon.reload()}


def _target(view: SetView | None, node: str) -> Answer:
    """What this node's runs found of the copy of `node`."""
    diverged = bool(view and node in view.diverged)
    complete = bool(view and node in view.complete_for) and not diverged
    return {"node": node, "complete": complete, "verdict": "DIVERGED" if diverged else ""}


def _legacy_line(item: Answer) -> str:
    """`cron:NICK,DATE` as 1.41's rstats prints it, with `backup_` where it was taken over."""
    since = datetime.fromisoformat(item["since"]).astimezone()
    prefix = "backup_" if item["backup"] else ""
    return f"{prefix}{item['kind']}:{item['nickname']},{since:%Y-%m-%d %H:%M:%S}"


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
