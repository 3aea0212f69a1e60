"""Arbitrary text: the reader has an answer to everything, and soon."""

from __future__ import annotations

import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drcm.config.faults import MOST_FAULTS, Severity
from drcm.config.load import load_config
from drcm.config.reading import read_text
from drcm.config.report import printcfg_text
from drcm.config.schema import KEYED, ROWS
from drcm.errors import ConfigError

LONGEST_SECONDS = 5.0

KEYS = [name for section in KEYED.values() for key in section.keys for name in (key.name, *key.aliases)]
ODD_VALUES = [
    "", "0", "1", "-1", "20;", "0.1", "1e999", "9" * 400, "nan", "true", "auto", "none", "10%",
    "10% or 5", "% or", "a", "b", "a:web", "b:web", "a:", ":", "a,b", ",,,", "web", "ip:web",
    "a:b:c", "/", "/srv/a", "/srv/a/b", "/etc", "..", "*/5 * * * *", "* * * * L", "0 0 L * 5L",
    "1#5/2 * * * MON\\#2", "@daily", "30s", "5 m", "10.0.0.1", "::1", "fe80::1%eth0", "1.2.3.4/8",
    "x@vtext.com", "root@", "'a|b'", "'", "\\#", "udp", "\u2028", "é", "٣", "\x00",
]  # fmt: skip
values = st.one_of(st.sampled_from(ODD_VALUES), st.text(max_size=20))
lines = st.one_of(
    st.builds("[{}]".format, st.one_of(st.sampled_from([*KEYED, *ROWS]), st.text(max_size=8))),
    st.builds("{} = {}".format, st.one_of(st.sampled_from(KEYS), st.text(max_size=8)), values),
    st.lists(values, max_size=7).map(", ".join),
    st.text(max_size=40),
)
near_valid = st.lists(lines, max_size=60).map("\n".join)
node = st.builds(
    "[CM_NODE]\nnodename = {}\nhostname = {}\nkeep_alive_ip = 10.0.0.{}\n{}\n".format,
    st.sampled_from("abc"),
    st.sampled_from("abc"),
    st.integers(0, 4),
    near_valid,
)
sync = st.builds(
    "[CM_SYNC]\nname = {}\nprimary = {}\nbackups = {}\nmirror = /srv/{}\n{}\n".format,
    st.sampled_from("st"),
    st.sampled_from("abc"),
    st.sampled_from(["a", "b", "a,b", "c", ""]),
    st.sampled_from(["a", "a/b", "c", "../x"]),
    near_valid,
)
clusters = st.lists(st.one_of(node, sync, near_valid), max_size=6).map("\n".join)


def answer(text: str) -> None:
    """Read `text`: bounded time, bounded faults, a cluster exactly where there is no ERROR."""
    begun = time.monotonic()
    reading = read_text(text, "F")
    assert time.monotonic() - begun < LONGEST_SECONDS
    assert len(reading.faults) <= MOST_FAULTS + 1
    last = text.count("\n") + 1
    for fault in reading.faults:
        assert 1 <= fault.line <= last
        assert "\n" not in str(fault)
        assert "\x1b" not in str(fault)
    errors = [fault for fault in reading.faults if fault.severity is Severity.ERROR]
    assert reading.usable == (reading.draft is not None and not errors)
    if reading.draft is not None:
        printed = printcfg_text(reading.draft.cluster)
        if reading.usable:
            again = read_text(printed, "P")
            assert again.draft is not None
            assert again.draft.cluster.digest == reading.draft.cluster.digest, printed


@given(st.text(max_size=2000))
@settings(max_examples=150, deadline=None)
def test_any_text_has_an_answer(text: str) -> None:
    """No text raises, none takes long, and every fault has a line of the file."""
    answer(text)


@given(near_valid)
@settings(max_examples=250, deadline=None)
def test_pieces_of_files_have_an_answer(text: str) -> None:
    """Real headings and keys with odd values: the parsers' corners."""
    answer(text)


@given(clusters)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_clusters_of_pieces_have_an_answer(text: str) -> None:
    """Nodes and sets that nearly fit: the cross-checks' corners; what is usable prints and reads the same."""
    answer(text)


@given(st.binary(max_size=500))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_have_an_answer(tmp_path: Path, data: bytes) -> None:
    """From the disk: only ConfigError may be raised; host checks run as well."""
    path = tmp_path / "cm.cfg"
    path.write_bytes(data)
    try:
        loaded = load_config(path)
    except ConfigError:
        return
    assert loaded.cluster is not None or loaded.faults
