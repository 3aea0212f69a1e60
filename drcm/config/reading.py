"""cm.cfg's text to a draft and all its faults, those of one value against another too. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from drcm.config.build import Draft, build
from drcm.config.checks import check_cluster
from drcm.config.faults import Fault, Faults, TooManyFaultsError, has_errors


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading a text gave: the draft (None where reading was given up) and every fault."""

    draft: Draft | None
    faults: tuple[Fault, ...]

    @property
    def usable(self) -> bool:
        return self.draft is not None and not has_errors(self.faults)


def read_text(text: str, file: str) -> Reading:
    """`text` read, built and checked against itself; `file` is the name in the faults. Never raises."""
    faults = Faults(file)
    try:
        draft = build(text, faults)
        check_cluster(draft, faults)
    except TooManyFaultsError:
        return Reading(None, faults.in_order())
    return Reading(draft, faults.in_order())
