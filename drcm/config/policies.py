"""[CM_RESOURCE] to the model: each section is a policy for every resource that it names. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from drcm.config.faults import Faults
from drcm.config.lines import shown
from drcm.config.model import EACH, Kind, Policy, ResourceRef
from drcm.config.settings import Settings

KINDS = {kind.value: kind for kind in Kind if kind is not Kind.SET}
PLAIN = ("group", "start_timeout", "stop_timeout", "monitor_timeout", "restart_limit", "restart_window")


def policies(sections: Iterable[Settings], faults: Faults) -> Iterator[Policy]:
    """One policy for each resource that a section names."""
    for settings in sections:
        plain = {key: settings.values[key] for key in PLAIN if key in settings.values}
        depends = tuple(_refs("depends", settings, faults))
        named = list(_refs("resource", settings, faults))
        if "resource" not in settings.lines:
            text = "[CM_RESOURCE] has no resource: expected whom it is about; add 'resource = KIND:NICKNAME'"
            faults.error(settings.line, text)
        for ref in named:
            yield Policy(ref.kind, ref.nickname, depends=depends, line=settings.line, **plain)


def _refs(key: str, settings: Settings, faults: Faults) -> Iterator[ResourceRef]:
    for index, text in enumerate(settings.values.get(key, ())):
        kind, _, nickname = (part.strip() for part in text.partition(":"))
        if kind in KINDS and nickname and (key == "resource" or nickname != EACH):
            yield ResourceRef(KINDS[kind], nickname)
            continue
        expected = f"KIND:NICKNAME, KIND one of {', '.join(KINDS)}"
        faults.error(settings.at(key, index), f"{key}: '{shown(text)}': expected {expected}; correct it")
