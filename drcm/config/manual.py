"""The man page cm.cfg(5), made from schema.py: `python -m drcm.config.manual > etc/man/cm.cfg.5`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from drcm.config.keys import Key, KeySection, RowSection
from drcm.config.schema import KEYED, ROWS, SECTION_ORDER

HEAD = r""".\" Made by python -m drcm.config.manual from drcm/config/schema.py: change it there.
.Dd November 22, 2026
.Dt CM.CFG 5
.Os
.Sh NAME
.Nm cm.cfg
.Nd configuration of the drcm cluster manager
.Sh DESCRIPTION
.Pa /etc/drcm/cm.cfg
says which nodes there are, what runs on which of them, who takes it over, and which directories are
replicated.
The same file lies on every node.
.Pp
A
.Ql #
begins a comment, also in mid-line;
.Ql \e#
is a literal one.
.Ql [SECTION]
begins a section; most hold lines of the form
.Ql key = value ,
the resource sections hold one resource a line, its values with commas between.
A
.Ql \&;
after a number is ignored.
Booleans are 1 or 0, true or false, yes or no.
Times are seconds, or 500ms, 30s, 5m, 4h, 2d.
Addresses are IPv4 or IPv6.
.Pp
Look at a file before it is used:
.Dl drcm-server --check-config [--config-file=FILE]
prints every setting, and each fault as FILE:LINE: SEVERITY - TEXT.
Where there is no file, a commented one is written.
"""
TAIL = r""".Sh FILES
.Bl -tag -width Ds -compact
.It Pa /etc/drcm/cm.cfg
the configuration;
.Ev DRCM_CONFIG
names another
.It Pa /etc/drcm/resources
resource scripts
.It Pa /etc/drcm/crontabs
crontab templates: minute hour day month weekday user command
.El
.Sh EXIT STATUS
.Nm drcm-server
.Fl -check-config
exits 0 when the file is good, 1 with errors, 2 with warnings only or when a template was written.
.Sh SEE ALSO
.Xr drcm-server 8 ,
.Xr drcm-sync 8 ,
.Xr drcm-alert 8 ,
.Xr crontab 5
"""


def manual_text() -> str:
    """All of cm.cfg(5) in mdoc."""
    parts = [HEAD, ".Sh SECTIONS\n"]
    for name in SECTION_ORDER:
        parts.extend(_rows(ROWS[name]) if name in ROWS else _keys(KEYED[name]))
    return "".join([*parts, TAIL])


def _rows(section: RowSection) -> Iterator[str]:
    yield f".Ss [{section.name}]\n{_escaped(section.doc)}\n.Dl {_escaped(section.format)}\n"


def _keys(section: KeySection) -> Iterator[str]:
    yield f".Ss [{section.name}]\n{_escaped(section.doc)}\n.Bl -tag -width Ds\n"
    for key in section.keys:
        yield f".It Cm {key.name}\n{_escaped(_sentence(key))}\n"
        yield f"Expected: {_escaped(key.type.expected)}.\n"
        if section.required(key):
            yield "Must be given.\n"
        elif default := section.default_text(key):
            yield f"Default: {_escaped(default)}.\n"
        if key.aliases:
            yield f"Also spelt {' and '.join(key.aliases)}.\n"
    yield ".El\n"


def _sentence(key: Key) -> str:
    doc = key.doc.removeprefix("... ")
    if doc != key.doc:
        doc = f"seconds between two looks {doc}"
    is_value = doc.partition(" ")[0].endswith((":", ","))  # "auto: ..." stays as it is typed
    return (doc if is_value else doc[0].upper() + doc[1:]) + "."


def _escaped(text: str) -> str:
    """Text that roff takes as it stands: no request at its beginning, no escape in it."""
    text = text.replace("\\", "\\e")
    return "\\&" + text if text.startswith((".", "'")) else text


if __name__ == "__main__":
    sys.stdout.write(manual_text())
