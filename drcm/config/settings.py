"""Sections to understood values: names looked up, types parsed, unknown and repeated keys told. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice
from typing import Any

from drcm.config.faults import Faults
from drcm.config.keys import Key, KeySection
from drcm.config.lines import Entry, Section, shown
from drcm.config.schema import KEYED, ROWS

MOST_COMPARED = 200  # names that a misspelt one is held against: 5 µs each


@dataclass(slots=True)
class Settings:
    """One section's keys as values: by the key's own name, each with the lines that gave it."""

    line: int  # of the heading; 0 for a section that is there once
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, list[int]] = field(default_factory=dict)

    def at(self, key: str, index: int = 0) -> int:
        """The line that gave the `index`-th value of `key`; the heading's where it isn't given."""
        given = self.lines.get(key, [])
        return given[min(index, len(given) - 1)] if given else max(self.line, 1)


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant, or ""."""
    found = get_close_matches(name[:64], list(islice(known, MOST_COMPARED)), n=1)
    return found[0] if found else ""


def hint(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'X'?)`, or nothing."""
    meant = nearest(name, known)
    return f" (did you mean '{meant}'?)" if meant else ""


def check_names(sections: Iterable[Section], faults: Faults) -> None:
    """Unknown sections: a WARNING each, with the nearest name."""
    known = [*KEYED, *ROWS]
    for section in sections:
        if section.name and section.name not in known:
            meant = hint(section.name, known)
            text = f"unknown section [{shown(section.name)}]{meant}; nothing in it counts"
            faults.warning(section.line, text)


def merged(sections: Iterable[Section], schema: KeySection, faults: Faults) -> Settings:
    """A section that is there once: what stands under all headings of its name."""
    settings = Settings(0)
    for section in sections:
        if section.name == schema.name:
            settings.line = settings.line or section.line
            _read(section.entries, schema, settings, faults)
    return settings


def each(sections: Iterable[Section], schema: KeySection, faults: Faults) -> list[Settings]:
    """A section that is repeated: one Settings a heading, required keys missed."""
    return [_one(section, schema, faults) for section in sections if section.name == schema.name]


def _one(section: Section, schema: KeySection, faults: Faults) -> Settings:
    settings = Settings(section.line)
    _read(section.entries, schema, settings, faults)
    for key in schema.keys:
        if schema.required(key) and key.name not in settings.lines:
            text = f"[{schema.name}] has no {key.name}: expected {key.type.expected}; add '{key.name} = ...'"
            faults.error(section.line, text)
    return settings


def _read(entries: Iterable[Entry], schema: KeySection, settings: Settings, faults: Faults) -> None:
    for entry in entries:
        key = schema.find(entry.key)
        if key is None:
            faults.warning(entry.line, _unknown(entry.key, schema))
            continue
        given_before = settings.lines.setdefault(key.name, [])
        if given_before and not key.many:
            text = f"{key.name} stands in line {given_before[-1]} already; this one counts, delete one"
            faults.warning(entry.line, text)
            given_before.clear()
        _keep(entry, key, schema, settings, faults)


def _keep(entry: Entry, key: Key, schema: KeySection, settings: Settings, faults: Faults) -> None:
    lines = settings.lines[key.name]
    try:
        value = key.type.parse(entry.value)
    except ValueError:
        faults.error(entry.line, _wrong(entry, key, schema))
        if not key.many:  # of a repeated key, lines and values go in pairs
            lines.append(entry.line)
        return
    if not key.many:
        settings.values[key.name] = value
        lines.append(entry.line)
        return
    items = value if isinstance(value, tuple) else (value,)
    settings.values[key.name] = (*settings.values.get(key.name, ()), *items)
    lines.extend([entry.line] * max(len(items), 1))


def _wrong(entry: Entry, key: Key, schema: KeySection) -> str:
    default = schema.default_text(key)
    told = f" (default: {default})" if default else ""
    cure = "correct it" if schema.required(key) else f"correct it or delete the line{told}"
    found = f"'{shown(entry.value)}'" if entry.value else "nothing"
    return f"{entry.key} is {found}: expected {key.type.expected}; {cure}"


def _unknown(name: str, schema: KeySection) -> str:
    elsewhere = next((other.name for other in KEYED.values() if other.find(name)), "")
    if elsewhere:
        return f"{name} belongs into [{elsewhere}], not into [{schema.name}]; it doesn't count here, move it"
    spellings = [spelling for key in schema.keys for spelling in (key.name, *key.aliases)]
    meant = hint(name, spellings)
    return f"unknown key '{shown(name)}' in [{schema.name}]{meant}; it doesn't count, correct or delete it"
