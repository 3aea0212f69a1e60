"""What may stand to the right of `=`: the meaning of each spelling, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from drcm.config import schema
from drcm.config import values as v

MEANINGS: list[tuple[v.Type, str, Any]] = [
    *((v.BOOL, text, True) for text in ("1", "true", "T", "Yes", "y", "1;")),
    *((v.BOOL, text, False) for text in ("0", "FALSE", "f", "no", "N", "0 ;")),
    (v.PORT, "53897;", 53897),
    (v.integer(0, 9), "9.0", 9),
    (v.seconds(0, 1e6), "30", 30.0),
    (v.seconds(0, 1e6), ".5", 0.5),
    (v.seconds(0, 1e6), "30s", 30.0),
    (v.seconds(0, 1e6), "5 m;", 300.0),
    (v.seconds(0, 1e6), "4h", 14400.0),
    (v.seconds(0, 1e6), "1d", 86400.0),
    (v.seconds(0, 1e6), "100ms", 0.1),
    (v.PREFIX, "255.255.255.0", 24),
    (v.PREFIX, "0.0.0.0", 0),
    (v.PREFIX, "24;", 24),
    (v.PREFIX, "128", 128),
    (v.INTERFACES, "'ens192|eno8303'", ("ens192", "eno8303")),
    (v.INTERFACES, "eth0:1", ("eth0:1",)),
    (v.ADDRESS, "2001:DB8:0::1", "2001:db8::1"),
    (v.ADDRESSES, "10.0.0.1, ::1", ("10.0.0.1", "::1")),
    (v.ADDRESSES, "", ()),
    (v.PATH, "//srv///a/./b/", "/srv/a/b"),
    (v.OWNER, "ldm:users", ("ldm", "users")),
    (v.CRON, "0  2 * * mon-fri", "0 2 * * mon-fri"),
    (v.CRON, "00 * * * *", "00 * * * *"),
    (v.CRON, "0 0 * * 7", "0 0 * * 7"),
    (v.CRON, "@Daily", "0 0 * * *"),
    (v.PERCENT, "10 %", 10.0),
    (v.DELETE_LIMIT, "1000", v.DeleteLimit(files=1000)),
    (v.DELETE_LIMIT, "10%", v.DeleteLimit(percent=10.0)),
    (v.DELETE_LIMIT, "10 % or 1000;", v.DeleteLimit(1000, 10.0)),
    (v.DELETE_LIMIT, "1000, 10%", v.DeleteLimit(1000, 10.0)),
    (v.RATE, "1.5M", "1.5M"),
    (v.RATE, "", ""),
    (v.MAILS, "root, a.b@example.org", ("root", "a.b@example.org")),
    (schema.FAILBACK, "Manual", False),
    (schema.TRANSPORT, "TCP", "tcp"),
]

REFUSED: list[tuple[v.Type, str]] = [
    *((v.BOOL, text) for text in ("", "2", "on", "truely")),
    *((v.PORT, text) for text in ("", "0", "65536", "-1", "1.5", "1e3", "٣", "9" * 5000, "nan")),
    *((v.seconds(1, 10), text) for text in ("", "s", "0.5", "11", "5x", "1.2.3", "inf", "-1")),
    *((v.PREFIX, text) for text in ("255.0.255.0", "0.0.0.255", "129", "24/8", "")),
    *((v.INTERFACES, text) for text in ("", "'a|'", "a b", "a/b", "averyveryverylong", "'")),
    *((v.ADDRESS, text) for text in ("", "1.2.3", "1.2.3.4/24", "0.0.0.0", "::", "224.0.0.1", "host")),
    *((v.PATH, text) for text in ("", "a", "/a/../b", "/a, /b", "/a,/b", "/" + "a" * 2000)),
    *((v.OWNER, text) for text in ("ldm", "ldm:", ":users", "a b:c", "-x:y")),
    *((v.CRON, text) for text in ("", "* * * *", "60 * * * *", "* * * * * *", "@reboot", "a b c d e")),
    *((v.CRON, text) for text in ("9" * 400 + " * * * *", "* * 31 2 *", "*/0 * * * *")),
    *((v.PERCENT, text) for text in ("", "101", "-1", "x")),
    *((v.DELETE_LIMIT, text) for text in ("", "x", "5 or 6", "10% or 20%", "110%", "1.5", "1..2")),
    *((v.RATE, text) for text in ("fast", "-5", "5 m")),
    *((v.NAME, text) for text in ("", "a/b", "a:b", "-a", ".a", "a b", "a" * 65)),
    *((v.MAILS, text) for text in ("a b", "a@b@c", "a,,b", "<a@b>")),
    *((v.FILE_NAME, text) for text in ("", "a/b")),
    *((v.SERVICE, text) for text in ("", "-x", "a b", "../x")),
    (v.FILLED, ""),
    (schema.TRANSPORT, "sctp"),
]


def refused(kind: v.Type, text: str) -> bool:
    try:
        kind.parse(text)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize(("kind", "text", "value"), MEANINGS)
def test_a_value_is_understood(kind: v.Type, text: str, value: Any) -> None:
    """Each spelling has one meaning, of the right type."""
    found = kind.parse(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("kind", "text"), REFUSED)
def test_a_value_is_refused(kind: v.Type, text: str) -> None:
    """What is no value of the type raises ValueError and nothing else."""
    assert refused(kind, text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "1"),
        (5_000_000, "5000000"),
        (31_536_000.0, "31536000"),
        (0.1, "0.1"),
        (("a", "b"), "a, b"),
        ((), ""),
    ],
)
def test_values_are_shown_as_the_file_spells_them(value: Any, text: str) -> None:
    """No exponent, no True: what is printed can be read again."""
    assert v.show(value) == text


def test_every_default_is_a_value_of_its_key() -> None:
    """The model's defaults and the schema's types agree."""
    for section in schema.KEYED.values():
        for key in section.keys:
            default = section.default(key)
            if key.many or default is None:
                continue
            assert key.type.parse(key.type.show(default)) == default, key.name
