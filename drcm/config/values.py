"""What may stand to the right of `=` or between commas: types with a parser and a printer. Pure."""

from __future__ import annotations

import ipaddress
import posixpath
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from cronsim import CronSim, CronSimError

from drcm.config import agentname
from drcm.config.fence import parse_fence

TRUE = frozenset({"1", "true", "t", "yes", "y"})
FALSE = frozenset({"0", "false", "f", "no", "n"})
NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?|\.[0-9]{1,9}")
DURATION = re.compile(r"([0-9.]+)\s*(ms|s|m|h|d|)")
UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
HOST_PATTERN = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:-]{0,252}")
USER_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,63}\$?")
MAIL_PATTERN = re.compile(r"[^\s@,;<>]{1,64}(@[A-Za-z0-9_.\[\]:-]{1,253})?")
RATE_PATTERN = re.compile(r"[0-9]{1,12}(\.[0-9]{1,3})?([KMGTP](i?B)?)?", re.IGNORECASE)
SIZE_PATTERN = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)\s*([KMGT]?)B?", re.IGNORECASE)
INTERFACE_PATTERN = re.compile(r"[^\s/|,'\"]{1,15}")
LIMIT_PATTERN = re.compile(r"([0-9.]+)\s*(%?)")
ANY_DAY = datetime(2024, 1, 1)  # cronsim wants a start; no run time is asked of it here
CRON_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
PATH_LONGEST = 1024  # rsync's sides build longer ones below it; PATH_MAX is 4096


@dataclass(frozen=True, slots=True)
class DeleteLimit:
    """`max_delete` as written: a number of files, a percentage, or both."""

    files: int | None = None
    percent: float | None = None


def show(value: Any) -> str:
    """`value` as cm.cfg spells it."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        return ", ".join(show(item) for item in value)
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")  # never 1e+07: no parser takes it
    return str(value)


@dataclass(frozen=True, slots=True)
class Type:
    """`expected` completes "expected ..."; `parse` raises ValueError where the text is no such thing.

    `blank` stands in for a faulty value, so that the rest of the file can still be checked.
    """

    expected: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str] = show
    blank: Any = ""


def _bare(text: str) -> str:
    """1.41 tolerates `;` after a number."""
    return text.rstrip("; \t")


def _parse_bool(text: str) -> bool:
    word = _bare(text).lower()
    if word not in TRUE | FALSE:
        raise ValueError(text)
    return word in TRUE


def _parse_float(text: str) -> float:
    if not NUMBER.fullmatch(_bare(text)):
        raise ValueError(text)
    return float(_bare(text))


def _parse_seconds(text: str) -> float:
    match = DURATION.fullmatch(_bare(text))
    if match is None:
        raise ValueError(text)
    return _parse_float(match[1]) * UNIT_SECONDS[match[2]]


def _within(value: float, lowest: float, highest: float) -> float:
    if not lowest <= value <= highest:
        raise ValueError(value)
    return value


def _parse_integer(text: str) -> int:
    value = _parse_float(text)
    if value != int(value):
        raise ValueError(text)
    return int(value)


def integer(lowest: int, highest: int) -> Type:
    return Type(
        f"a whole number from {lowest} to {highest}",
        lambda text: int(_within(_parse_integer(text), lowest, highest)),
    )


def number(lowest: float, highest: float) -> Type:
    return Type(
        f"a number from {lowest:g} to {highest:g}",
        lambda text: _within(_parse_float(text), lowest, highest),
    )


def seconds(lowest: float, highest: float) -> Type:
    return Type(
        f"a time from {lowest:g} to {highest:g} seconds, as 30, 30s, 5m, 4h or 100ms",
        lambda text: _within(_parse_seconds(text), lowest, highest),
    )


def _parse_size(text: str) -> int:
    match = SIZE_PATTERN.fullmatch(_bare(text))
    if match is None:
        raise ValueError(text)
    return int(_parse_float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " "))


SIZE = Type("a number of bytes, as 500M, 20G or 1T (powers of 1000)", _parse_size, blank=0)


def choice(options: type[StrEnum]) -> Type:
    names = ", ".join(option.value for option in options)
    return Type(f"one of {names}", lambda text: options(text.lower()))


def words(**meaning: Any) -> Type:
    """One of some words; each stands for a value."""
    spelling = {value: word for word, value in meaning.items()}
    return Type(
        f"one of {', '.join(meaning)}",
        lambda text: _lookup(meaning, text.lower()),
        lambda value: spelling.get(value, show(value)),
    )


def _lookup(meaning: dict[str, Any], word: str) -> Any:
    if word not in meaning:
        raise ValueError(word)
    return meaning[word]


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(text)
        return text

    return parse


def _optional(parse: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: parse(text) if text else ""


def _parse_fence(text: str) -> str:
    if text:
        parse_fence(text)
    return text


def _parse_command(text: str) -> str:
    """Kept as it stands; its words must be there to be had."""
    if text and not shlex.split(text):
        raise ValueError(text)
    return text


def _parse_filled(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


def _parse_path(text: str) -> str:
    usable = text.startswith("/") and len(text) <= PATH_LONGEST
    if not usable or ".." in text.split("/") or ", /" in text or ",/" in text:
        raise ValueError(text)
    return "/" + posixpath.normpath(text).lstrip("/")


def _parse_address(text: str) -> str:
    address = ipaddress.ip_address(text)
    if address.is_unspecified or address.is_multicast:
        raise ValueError(text)
    return str(address)


def _parse_prefix(text: str) -> int:
    """24 for `24` and for `255.255.255.0`; the family is looked at with the address."""
    bare = _bare(text)
    if "." not in bare:
        return int(_within(_parse_integer(bare), 0, 128))
    mask = int(ipaddress.IPv4Address(bare))
    ones = mask.bit_count()
    if mask != (0xFFFFFFFF << (32 - ones)) & 0xFFFFFFFF:
        raise ValueError(text)
    return ones


def _parse_interfaces(text: str) -> tuple[str, ...]:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    names = tuple(name.strip() for name in (text[1:-1] if quoted else text).split("|"))
    if not all(INTERFACE_PATTERN.fullmatch(name) for name in names):
        raise ValueError(text)
    return names


def _parse_owner(text: str) -> tuple[str, str]:
    user, _, group = (part.strip() for part in text.partition(":"))
    if not USER_PATTERN.fullmatch(user) or not USER_PATTERN.fullmatch(group):
        raise ValueError(text)
    return user, group


def _parse_cron(text: str) -> str:
    """The five fields, blanks made single; @daily and its kin are spelt out."""
    fields = CRON_NICKNAMES.get(text.lower(), text).split()
    if len(fields) != 5 or len(text) > 500:  # cronsim takes a sixth field (seconds): cron does not
        raise ValueError(text)
    try:
        CronSim(" ".join(fields), ANY_DAY)
    except CronSimError as error:
        raise ValueError(text) from error
    return " ".join(fields)


def _parse_script(text: str) -> str:
    """Kept as it is written; what it names must be understood."""
    agentname.parse(_parse_filled(text))
    return text


def _parse_percent(text: str) -> float:
    return _within(_parse_float(_bare(text).removesuffix("%").strip()), 0, 100)


def _parse_delete_limit(text: str) -> DeleteLimit:
    """`1000`, `10%`, or both: `10% or 1000`."""
    limits: dict[str, Any] = {}
    for part in re.split(r"\bor\b|,", _bare(text)):
        match = LIMIT_PATTERN.fullmatch(part.strip())
        kind = "percent" if match and match[2] else "files"
        if match is None or kind in limits:
            raise ValueError(text)
        limits[kind] = _parse_percent(match[1]) if match[2] else _parse_integer(match[1])
    return DeleteLimit(**limits)


def list_of(item: Type, expected: str) -> Type:
    """Values with commas between; an empty text is an empty list."""

    def parse(text: str) -> tuple[Any, ...]:
        parts = [part.strip() for part in text.split(",")] if text else []
        return tuple(item.parse(part) for part in parts)

    return Type(expected, parse, blank=())


FENCE = Type("/path/program with its arguments, or fence:AGENT key=value ...", _parse_fence)
BOOL = Type("1 or 0 (also true/false, t/f, yes/no, y/n)", _parse_bool)
TEXT = Type("text", str)
COMMAND = Type("a program with its arguments, quoted as in a shell", _parse_command)
FILLED = Type("some text", _parse_filled)
PORT = Type("a port from 1 to 65535", lambda text: int(_within(_parse_integer(text), 1, 65535)))
NAME = Type("a name of letters, digits and _ . - (64 at most)", _matching(NAME_PATTERN))
GROUP = Type("a name of letters, digits and _ . - (64 at most)", _optional(_matching(NAME_PATTERN)))
NAMES = list_of(NAME, "names of letters, digits and _ . - with commas between")
HOST = Type("a host name as `uname -n` prints it", _matching(HOST_PATTERN))
SERVER_NAME = Type("a host name or an address", _optional(_matching(HOST_PATTERN)))
SERVICE = Type("a service's name", _matching(re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@\\-]{0,199}")))
USER = Type("a user or group name", _matching(USER_PATTERN))
OWNER = Type("user:group", _parse_owner, blank=("", ""))
PATH = Type("one absolute path, no .. in it", _parse_path)
OPTIONAL_PATH = Type("one absolute path, no .. in it", _optional(_parse_path))
FILE_NAME = Type("a file name without a path", _matching(re.compile(r"[^/\s]{1,200}")))
ADDRESS = Type("an IPv4 or IPv6 address of one host", _parse_address)
ADDRESSES = list_of(ADDRESS, "IPv4 or IPv6 addresses with commas between")
PREFIX = Type("a netmask (255.255.255.0) or a prefix length (24)", _parse_prefix, blank=0)
INTERFACES = Type("an interface, or some: 'ens192|eno8303'", _parse_interfaces, "|".join, ())
CRON = Type("five crontab fields (minute hour day month weekday), as */5 * * * *", _parse_cron)
SCRIPT = Type(f"{agentname.EXPECTED}", _parse_script)
PERCENT = Type("a percentage from 0 to 100", _parse_percent)
DELETE_LIMIT = Type("a number of files, a percentage, or both: 10% or 1000", _parse_delete_limit)
RATE = Type("a rate as rsync's --bwlimit takes it, as 5m or 1.5M", _optional(_matching(RATE_PATTERN)))
MAILS = list_of(Type("", _matching(MAIL_PATTERN)), "mail addresses (or local users) with commas between")
MAIL = Type("a mail address", _optional(_matching(MAIL_PATTERN)))
