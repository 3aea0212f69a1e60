"""Numbers to medians, ratios and verdicts, as a table for people or JSON for programs. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Cell = list[float] | str  # what was measured; or why nothing was


@dataclass(frozen=True)
class Row:
    """One measure of several contenders (`cells`: by their names), and what is promised of some of them."""

    name: str
    title: str
    unit: str
    cells: Mapping[str, Cell]
    targets: Mapping[str, float] = field(default_factory=dict)  # the median is at most this

    def median(self, contender: str) -> float | None:
        cell = self.cells.get(contender)
        return statistics.median(cell) if cell and not isinstance(cell, str) else None

    def ratio(self, contender: str, rival: str) -> float | None:
        """Of two medians; None where one is missing or the rival's is 0."""
        ours, theirs = self.median(contender), self.median(rival)
        return ours / theirs if ours is not None and theirs else None

    @property
    def missed(self) -> list[str]:
        """Contenders that were to be measured and did not keep what is promised."""
        found = {name: self.median(name) for name in self.targets if name in self.cells}
        return [name for name, median in found.items() if median is None or median > self.targets[name]]


def as_json(rows: Iterable[Row], rivals: Mapping[str, str]) -> list[dict[str, Any]]:
    """For each row: name, title, unit, cells {contender: {values, median, min, max} | {error}},
    ratios {contender: number | null}, targets, missed [contender]."""
    return [
        {
            "name": row.name,
            "title": row.title,
            "unit": row.unit,
            "cells": {name: _cell_json(cell) for name, cell in row.cells.items()},
            "ratios": {name: _rounded(row.ratio(name, rival)) for name, rival in rivals.items()},
            "targets": dict(row.targets),
            "missed": row.missed,
        }
        for row in rows
    ]


def as_text(rows: Sequence[Row], titles: Mapping[str, str], rivals: Mapping[str, str]) -> str:
    """Columns: the measure, each contender beside its rival and their ratio, what is promised."""
    pairs = [(one, rivals[one]) for one in titles if rivals.get(one) in titles]
    paired = {name for pair in pairs for name in pair}
    single = [name for name in titles if name not in paired]
    head = ["median (least-most)"]
    for ours, theirs in pairs:
        head += [titles[ours], titles[theirs], "ratio"]
    head += [*(titles[name] for name in single), "promised"]
    lines = [head, *(_line(row, pairs, single) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = ["  ".join(map(str.ljust, line, widths)) for line in lines]
    return "\n".join(line.rstrip() for line in [*aligned, *_errors(rows, titles)])


def _line(row: Row, pairs: Sequence[tuple[str, str]], single: Sequence[str]) -> list[str]:
    words = [f"{row.title}, {row.unit}"]
    for ours, theirs in pairs:
        ratio = row.ratio(ours, theirs)
        words += [_cell_text(row.cells.get(name, [])) for name in (ours, theirs)]
        words.append("" if ratio is None else f"{ratio:.2f}")
    words += [_cell_text(row.cells.get(name, [])) for name in single]
    promised = [f"{limit:g}" + " missed" * (name in row.missed) for name, limit in row.targets.items()]
    return [*words, ", ".join(promised)]


def _cell_text(cell: Cell) -> str:
    if isinstance(cell, str):
        return "failed"
    if not cell:
        return "-"
    middle, least, most = (_number(one) for one in (statistics.median(cell), min(cell), max(cell)))
    return middle if len(cell) == 1 else f"{middle} ({least}-{most})"


def _errors(rows: Sequence[Row], titles: Mapping[str, str]) -> list[str]:
    found = [(row, name, cell) for row in rows for name, cell in row.cells.items() if isinstance(cell, str)]
    return [f"{row.title}, {titles.get(name, name)}: {text}" for row, name, text in found]


def _cell_json(cell: Cell) -> dict[str, Any]:
    if isinstance(cell, str):
        return {"error": cell}
    if not cell:
        return {"values": []}
    values = [round(one, 4) for one in cell]
    return {
        "values": values, "median": statistics.median(values), "min": min(values), "max": max(values),
    }  # fmt: skip


def _number(value: float) -> str:
    return f"{value:.3f}" if value < 10 and value != int(value) else f"{value:.4g}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
