"""One run to one node: look, judge, plan, guard, begin, transfer, verify, commit (DESIGN.md section 6).

The order is the safety: nothing is begun before the guards, `given.begun` is durable before the peer may
apply, and the peer's position moves only after every root's rsync ended well on both sides.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from drcm.clock import now
from drcm.errors import DeleteGuardError, DrcmError
from drcm.replication import guards, outcome, passes, plan, process, records, rsync, transitions
from drcm.replication.generation import Given, Position, Record, Root, RunId, to_json
from drcm.replication.job import Job
from drcm.replication.link import Link
from drcm.replication.looking import Seen, look
from drcm.replication.outcome import Kind, Outcome
from drcm.replication.plan import Plan
from drcm.replication.progress import Quiet
from drcm.replication.result import TargetResult
from drcm.replication.sources import Sources
from drcm.replication.verdict import Verdict, VerdictKind

BEGIN_SECONDS = 300.0  # on an `ahead` tree the gate walks all of it: held-back files, metadata


@dataclass
class TransferError(DrcmError):
    """rsync did not bring everything over. `outcome` says which way."""

    outcome: Outcome | None = None


@dataclass(slots=True)
class Push:
    """One run to one node; `record` is this node's own and stays current. The caller holds the set's lock."""

    job: Job
    node: str
    record: Record
    sources: Sources
    lock_fd: int | None = None
    link: Link | None = None  # opened before, by --wait-go
    plans: dict[str, Plan] = field(default_factory=dict)
    planned: dict[str, tuple[str, ...]] = field(default_factory=dict)  # all names to be created or changed
    stats: dict[str, rsync.Stats] = field(default_factory=dict)
    sent: int = 0
    run: RunId = ""
    kept: tuple[str, ...] = ()
    metadata: int = 0

    def go(self) -> TargetResult:
        """Do it all; raises DrcmError where it did not end well."""
        started = now()
        with nullcontext(self.link) if self.link else self.job.link(self.node) as link:
            seen = look(self.job, self.record, self.node, link)
            if not self.job.dry_run:
                self._catch_up(seen)
            link.wait()
            self._plan_all(seen, link)
            tripped = self._check_plan(seen)
            if not self.job.dry_run and not self._nothing_to_do(seen):
                self._transfer(seen, link, deletes=tripped is None)
        if tripped is None:
            return self._result(seen, now() - started)
        if not self.job.dry_run:
            raise tripped
        seen = replace(seen, warnings=(*seen.warnings, f"a real run would stop: {tripped.what}"))
        return self._result(seen, now() - started)

    @property
    def plan(self) -> Plan:
        return sum(self.plans.values(), Plan())

    def _catch_up(self, seen: Seen) -> None:
        current = transitions.catch_up(self.record, seen.tree)
        if current is not self.record:
            self._save(current)

    def _nothing_to_do(self, seen: Seen) -> bool:
        """The tree over there is what its last run left and this one would change nothing."""
        given = self.record.given.get(self.node, Given())
        last = Position(self.record.head.id, given.complete)
        resting = seen.tree.pos == last and seen.tree.applying is None and given.begun == given.complete
        quiet = seen.verdict.kind in (VerdictKind.EQUAL, VerdictKind.BEHIND)
        return quiet and resting and self.plan.is_empty

    def _result(self, seen: Seen, seconds: float) -> TargetResult:
        total = self.plan
        return TargetResult(
            node=self.node,
            row=seen.verdict.row,
            verdict=str(seen.verdict.kind),
            reason=seen.verdict.reason,
            run=self.run,
            created=total.created,
            changed=total.changed,
            deleted=total.deleted,
            created_count=total.created_count,
            changed_count=total.changed_count,
            deleted_count=total.deleted_count,
            touched_count=total.touched_count,
            size=total.size,
            sent=self.sent,
            seconds=round(seconds, 3),
            kept=self.kept,
            metadata=self.metadata,
            warnings=seen.warnings,
        )

    # -- plan and guards

    def _plan_all(self, seen: Seen, link: Link) -> None:
        for root in self.record.roots:
            report = self._dry_run(seen, root, link)
            self.plans[root.path] = plan.plan_of(report.items)
            self.planned[root.path] = plan.names_of(report.items)
            self.stats[root.path] = report.totals

    def _dry_run(self, seen: Seen, root: Root, link: Link) -> rsync.Report:
        remote = ("drcm-gate", "plan", self.record.name, str(seen.index(root)), "--", "rsync")
        transfer = self._rsync_of(seen, root, link, remote)
        report, ended = self._run(root, replace(transfer, dry_run=True), Quiet())
        if ended.kind not in (Kind.GOOD, Kind.VANISHED, Kind.PARTIAL):
            raise _failed(self.node, ended)
        return report

    def _check_plan(self, seen: Seen) -> DeleteGuardError | None:
        """Raises where nothing may be done; returns the error where everything may but deleting."""
        sync_set, override = self.job.sync_set, self.job.override
        for root in self.record.roots:
            files = self.stats[root.path].files
            guards.check_shrink(sync_set.name, root, files, sync_set.max_shrink_percent, override)
        try:
            plan.check_deletions(self.plan, self._files_there(), sync_set, override)
        except DeleteGuardError as error:
            return error
        return None

    def _files_there(self) -> int:
        """Names on the receiver before the run."""
        return sum(one.files - one.created + one.deleted for one in self.stats.values())

    # -- the run itself

    def _transfer(self, seen: Seen, link: Link, deletes: bool) -> None:
        self.run = transitions.run_for(self.record, self.node, secrets.token_hex(4))
        self._save(transitions.begin_run(self.record, self.node, self.run))
        begun = link.call("begin", self.record.name, self._begin_request(), BEGIN_SECONDS)
        seen = replace(seen, verdict=_verdict_from(begun))
        attempt = int(begun["attempt"])
        for root in self.record.roots:
            self._send_root(seen, root, link, attempt, deletes)
        if not deletes:
            return  # what was to be deleted is still there: the run is not whole
        if self.job.hand_over:
            self._verify(seen, link)
        self._commit(link)

    def _save(self, record: Record) -> None:
        self.record = records.save(self.job.paths.sets, record)

    def _begin_request(self) -> Mapping[str, Any]:
        sizes = {path: one.size for path, one in self.plans.items()}
        return {
            "record": to_json(self.record),
            "run": self.run,
            "sizes": sizes,
            "counts": {path: one.created_count for path, one in self.plans.items()},
            "override": list(self.job.override),
            "roots": [root.path for root in self.record.roots],
        }

    def _send_root(self, seen: Seen, root: Root, link: Link, attempt: int, deletes: bool) -> None:
        """One root, again and again until it is whole; TransferError where it isn't in the end."""

        def send(number: int, only: Sequence[str], sent: list[rsync.Item]) -> Outcome:
            return self._send_once(seen, root, link, attempt + number, deletes, sent, only)

        ended = passes.until_whole(root.path, self.planned[root.path], send)
        if ended is not None:
            raise _failed(self.node, ended)

    def _send_once(
        self,
        seen: Seen,
        root: Root,
        link: Link,
        attempt: int,
        deletes: bool,
        sent: list[rsync.Item],
        only: Sequence[str] = (),
    ) -> Outcome:
        """One rsync, of all of the root or of `only` these patterns; what it sent is added to `sent`."""
        where = (self.record.name, str(seen.index(root)), self.record.head.id, self.run, str(attempt))
        remote = ("drcm-gate", "receive", *where, "--", "rsync")
        transfer = self._rsync_of(seen, root, link, remote)
        transfer = replace(
            transfer,
            deletes=transfer.deletes and deletes,
            max_delete=self._seat_belt(),
            backup_dir=f"{rsync.OWN_DIR}/trash/{self.record.head.n}-{self.run}-{attempt}",
            only=tuple(only),
        )
        report, ended = self._run(root, transfer, self.job.progress(f"{self.record.name} to {self.node}"))
        self.sent += report.totals.sent
        sent += report.items
        return ended

    def _seat_belt(self) -> int | None:
        """What rsync may delete at most, should the source have changed since the plan."""
        if "delete" in self.job.override:
            return None
        return plan.deletions_allowed(self._files_there(), self.job.sync_set)

    def _verify(self, seen: Seen, link: Link) -> None:
        """A second dry run finds nothing: the tree over there is this one."""
        for root in self.record.roots:
            left = plan.plan_of(self._dry_run(seen, root, link).items)
            if not left.is_empty:
                names = ", ".join((*left.created, *left.changed, *left.deleted, *left.touched)[:5])
                raise TransferError(f"{self.node}: after the run {root.path} still differs: {names}")

    def _commit(self, link: Link) -> None:
        request = {"generation": self.record.head.id, "run": self.run}
        answer = link.call("commit", self.record.name, request, BEGIN_SECONDS)
        self.kept = tuple(str(name) for name in answer.get("kept", ()))
        self.metadata = int(answer.get("metadata", 0))
        complete = transitions.complete_run(self.record, self.node, self.run)
        counts = [(path, one.files, one.total_size) for path, one in self.stats.items()]
        self._save(transitions.measured(complete, counts))

    # -- rsync

    def _rsync_of(self, seen: Seen, root: Root, link: Link, remote: tuple[str, ...]) -> rsync.Transfer:
        server, sync_set = self.job.server(self.node), self.job.sync_set
        return rsync.Transfer(
            source=".",  # the root that was looked at: `sources` enters it
            target=root.path,
            address=server.address,
            user=server.user,
            shell=link.shell,
            remote=remote,
            deletes=plan.may_delete(root.mode, seen.verdict.kind),
            exclude=sync_set.exclude,
            bwlimit=sync_set.bwlimit,
            fsync=sync_set.fsync,
        )

    def _run(self, root: Root, transfer: rsync.Transfer, shown: Quiet) -> tuple[rsync.Report, Outcome]:
        self.sources.enter(root)
        argv = rsync.sender_argv(transfer, process.find_program("rsync"))
        report, lines = rsync.Report(), rsync.Lines()
        keep = () if self.lock_fd is None else (self.lock_fd,)

        def take(data: bytes) -> None:
            for line in lines.feed(data):
                position = report.take(line)
                if position is not None:
                    shown.update(position)

        with process.Child(argv, keep) as child, shown:
            ended = child.follow(take)
        for line in lines.end():
            report.take(line)
        return report, outcome.judge(ended.code, ended.stderr)


def _failed(node: str, ended: Outcome) -> TransferError:
    return TransferError(f"{node}: {ended.reason}", "", ended.exit_code, ended)


def _verdict_from(answer: Mapping[str, Any]) -> Verdict:
    return Verdict(int(answer["row"]), VerdictKind(answer["kind"]), str(answer["reason"]))
