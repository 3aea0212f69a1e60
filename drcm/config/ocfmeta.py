"""The meta-data that an OCF agent prints of itself: parameters, and how long its actions may take. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from drcm.config.agentname import CHECK_LEVEL
from drcm.config.settings import hint

LONGEST = 1 << 20  # bytes; the largest agent of resource-agents prints some 40 kB
_TIME = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "ms": 0.001, "msec": 0.001, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `default` is None where it has none."""

    name: str
    kind: str  # string, integer, boolean ...
    required: bool
    default: str | None
    short: str
    long: str


@dataclass(frozen=True, slots=True)
class MetaData:
    """What an agent is, takes and does."""

    name: str
    short: str
    long: str
    parameters: tuple[Parameter, ...]
    timeouts: Mapping[str, float]  # action -> seconds

    def timeout(self, action: str) -> float | None:
        """How long the agent says that `action` may take; None where it does not say."""
        return self.timeouts.get(action)


def parse(text: str) -> MetaData:
    """ValueError where `text` is no meta-data."""
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  # of a program that root runs anyway
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"its meta-data is no XML: {error}") from None
    if root.tag != "resource-agent":
        raise ValueError(f"its meta-data is <{root.tag}>: expected <resource-agent>")
    return MetaData(
        name=root.get("name", ""),
        short=_text(root, "shortdesc"),
        long=_text(root, "longdesc"),
        parameters=tuple(_parameter(item) for item in root.iterfind("parameters/parameter")),
        timeouts=_timeouts(root.iterfind("actions/action")),
    )


def seconds(text: str) -> float | None:
    """`20s`, `20`, `1m`, `500ms`; None for what is no time."""
    match = _TIME.fullmatch(text)
    factor = _UNITS.get(match[2].lower()) if match else None
    return float(match[1]) * factor if match and factor else None


def faults(
    meta: MetaData, given: Mapping[str, str], columns: Mapping[str, str]
) -> Iterable[tuple[bool, str]]:
    """(is an error, text) for what `given` (cm.cfg's parameters) and `columns` get wrong."""
    known = [parameter.name for parameter in meta.parameters]
    for name in given:
        if name not in known and name != CHECK_LEVEL:
            yield False, f"has no parameter {name}{hint(name, known)}; correct or delete it"
    for parameter in meta.parameters:
        said = given.get(parameter.name, columns.get(parameter.name))
        if parameter.required and not said and not parameter.default:
            yield True, f"needs {parameter.name}=...: {parameter.short}"


def _parameter(item: ElementTree.Element) -> Parameter:
    content = item.find("content")
    return Parameter(
        name=item.get("name", ""),
        kind=content.get("type", "string") if content is not None else "string",
        required=item.get("required", "0") in ("1", "true", "yes"),
        default=content.get("default") if content is not None else None,
        short=_text(item, "shortdesc"),
        long=_text(item, "longdesc"),
    )


def _timeouts(actions: Iterable[ElementTree.Element]) -> dict[str, float]:
    """Of several monitors (other depths and roles) the first counts: it is the one that we run."""
    found: dict[str, float] = {}
    for action in actions:
        name, limit = action.get("name", ""), seconds(action.get("timeout", ""))
        if limit and name not in found:
            found[name] = limit
    return found


def _text(item: ElementTree.Element, tag: str) -> str:
    return (
        " ".join((item.findtext(tag) or "").split())
        if tag == "shortdesc"
        else (item.findtext(tag) or "").strip()
    )
