"""The benchmark's own arithmetic: what is kept or missed, what is set against what, how it is shown."""

from __future__ import annotations

import json

import pytest

from bench.table import Cell, Row, as_json, as_text

RIVALS = {"drcm": "keepalived"}
TITLES = {"drcm": "drcm 0.1 x 20", "keepalived": "keepalived 1"}


def row(drcm: Cell, keepalived: Cell = "none", limit: float = 2.3) -> Row:
    return Row("power-cut", "power cut", "s", {"drcm": drcm, "keepalived": keepalived}, {"drcm": limit})


@pytest.mark.parametrize(
    ("values", "missed"),
    [([2.0, 9.0, 2.1], []), ([2.3], []), ([2.0, 2.4, 2.5], ["drcm"]), ("broken", ["drcm"]), ([], ["drcm"])],
)
def test_the_median_decides(values: Cell, missed: list[str]) -> None:
    """At most what is promised is kept; what could not be measured was not."""
    assert row(values).missed == missed


def test_what_was_not_to_be_measured_is_not_missed() -> None:
    """With --contender keepalived nothing is promised."""
    assert Row("power-cut", "power cut", "s", {"keepalived": [3.0]}, {"drcm": 2.3}).missed == []


@pytest.mark.parametrize(
    ("drcm", "keepalived", "ratio"),
    [([1.0, 2.0, 3.0], [4.0], 0.5), ([0.0], [74.0], 0.0), ([1.0], [0.0], None), ([1.0], "broken", None)],
)
def test_ratio_of_medians(drcm: list[float], keepalived: Cell, ratio: float | None) -> None:
    """There is none to nothing."""
    assert row(drcm, keepalived).ratio("drcm", "keepalived") == ratio


def test_json_is_whole() -> None:
    """Every value with its median, least and most, ratios, targets, what was missed and why."""
    (found,) = json.loads(json.dumps(as_json([row([2.0, 2.5, 2.6], [3.0])], RIVALS)))
    assert found == {
        "name": "power-cut",
        "title": "power cut",
        "unit": "s",
        "cells": {
            "drcm": {"values": [2.0, 2.5, 2.6], "median": 2.5, "min": 2.0, "max": 2.6},
            "keepalived": {"values": [3.0], "median": 3.0, "min": 3.0, "max": 3.0},
        },
        "ratios": {"drcm": 0.8333},
        "targets": {"drcm": 2.3},
        "missed": ["drcm"],
    }
    (failed,) = as_json([row("the lab is off")], RIVALS)
    assert failed["cells"]["drcm"] == {"error": "the lab is off"}


def test_table_reads_beside_each_other() -> None:
    """A contender, its rival, their ratio; what failed says why below."""
    text = as_text([row([2.0, 2.5, 2.6], [3.0]), row("the lab is off", [])], TITLES, RIVALS)
    head, first, second, why = text.splitlines()
    places = [head.index(word) for word in ("drcm 0.1 x 20", "keepalived 1", "ratio", "promised")]
    assert places == sorted(places)
    assert first.split() == ["power", "cut,", "s", "2.500", "(2-2.600)", "3", "0.83", "2.3", "missed"]
    assert second.split() == ["power", "cut,", "s", "failed", "-", "2.3", "missed"]
    assert why == "power cut, drcm 0.1 x 20: the lab is off"


def test_a_contender_without_its_rival_has_its_column() -> None:
    """--contender drcm: there is nothing to set it against."""
    alone = Row("power-cut", "power cut", "s", {"drcm": [2.0]}, {"drcm": 2.3})
    head, line = as_text([alone], {"drcm": "drcm 0.1 x 20"}, RIVALS).splitlines()
    assert "ratio" not in head
    assert line.split() == ["power", "cut,", "s", "2", "2.3"]
