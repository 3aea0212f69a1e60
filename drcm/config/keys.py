"""What a section of cm.cfg is made of: keys, or the columns of rows. Pure; schema.py fills it."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any

from drcm.config import values as v
from drcm.config.model import Kind


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section. `field` is the model's name for it, "" where build.py makes more of it."""

    name: str
    type: v.Type
    doc: str
    field: str = "="  # "=": the same as `name`
    aliases: tuple[str, ...] = ()
    many: bool = False  # may be repeated; each line adds one value
    unset: str = ""  # the default as text, where the model has no field for it

    @property
    def attribute(self) -> str:
        return self.name if self.field == "=" else self.field


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a CSV row."""

    name: str
    type: v.Type
    optional: bool = False


@dataclass(frozen=True, slots=True)
class KeySection:
    """A section of `key = value` lines. `repeated`: each heading begins another one (a node, a set)."""

    name: str
    doc: str
    model: type
    keys: tuple[Key, ...]
    repeated: bool = False

    def find(self, name: str) -> Key | None:
        """The key spelt `name`, its old spellings included."""
        return next((key for key in self.keys if name == key.name or name in key.aliases), None)

    def default_text(self, key: Key) -> str:
        """The default as cm.cfg would spell it; "" = nothing, none, or the key is required."""
        value = self.default(key)
        return key.unset if value is None else key.type.show(value)

    def default(self, key: Key) -> Any:
        """The model's default of `key`; None where it must be given (or is not one field)."""
        for item in fields(self.model):
            if item.name == key.attribute:
                return None if item.default is MISSING else item.default
        return None

    def required(self, key: Key) -> bool:
        return any(item.name == key.attribute and item.default is MISSING for item in fields(self.model))


@dataclass(frozen=True, slots=True)
class RowSection:
    """A section of CSV rows, one a resource."""

    name: str
    doc: str
    kind: Kind
    columns: tuple[Column, ...]

    @property
    def format(self) -> str:
        """As the guide writes it: nickname, user:group, start_program, stop_program[, ensure_script]."""
        parts = [f"[, {c.name}]" if c.optional else f", {c.name}" for c in self.columns]
        return "".join(parts).removeprefix(", ")
