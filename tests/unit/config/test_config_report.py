"""--check-config and printcfg: what a person sees, and what grep finds in it."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from drcm.config.build import Draft
from drcm.config.hostchecks import Host
from drcm.config.report import check_config, printcfg_text
from drcm.config.template import template_text, write_template

Read = Callable[[str], Draft]
GREP = re.compile("error|warn|fail|info", re.IGNORECASE)


def check(path: Path, host: Host | None = None) -> tuple[int, list[str]]:
    out = io.StringIO()
    code = check_config(path, out, host)
    return code, out.getvalue().splitlines()


def machine(there: int) -> Host:
    """A machine on which every path is a file or folder of mode `there`."""
    return Host(
        name="one.example.org",
        interfaces=frozenset({"ens192"}),
        mode=lambda path: stat.S_IFREG | there if path.startswith("/etc") else stat.S_IFDIR | there,
        text=lambda path: "",
        has_address=lambda ip: True,
        has_user=lambda name: True,
    )


def test_a_missing_file_gets_a_template(tmp_path: Path) -> None:
    """Exit 2 and a commented file, readable by all; it is never written over what is there."""
    path = tmp_path / "etc" / "cm.cfg"
    code, lines = check(path)
    assert code == 2
    assert f"there was no {path}: a template was written" in lines[-1]
    assert path.read_text() == template_text(os.uname().nodename)
    assert path.stat().st_mode & 0o777 & ~0o644 == 0
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        write_template(path)
    assert path.read_text() == "mine"


def test_no_template_where_none_can_be_written(tmp_path: Path) -> None:
    """A path below a file is one line and exit 1."""
    (tmp_path / "file").write_text("")
    code, lines = check(tmp_path / "file" / "cm.cfg")
    assert code == 1
    assert len([line for line in lines if "ERROR" in line]) == 1


def test_the_template_loads(faults_of: Callable[[str], list[str]]) -> None:
    """The template has no ERROR, and only the warnings that two nodes deserve."""
    assert sorted(fault.split(" - ")[1][:20] for fault in faults_of(template_text())) == [
        "no ping_hosts: a nod",
        "two voters have no m",
    ]


def test_the_templates_examples_load_too(faults_of: Callable[[str], list[str]]) -> None:
    """With the # taken from the witness, the set and the resources it is a good file without a warning."""
    lines = template_text().split("\n")
    wanted = re.compile(
        r"#(\[|witness = 1|(name|primary|backups|mirror|copy|schedule|nodename|hostname|keep_alive_ip"
        r"|resource|depends|restart_limit|restart_window) =)"
    )
    text = "\n".join(line[1:] if wanted.match(line) else line for line in lines)
    text = text.replace("\n#web,", "\nweb,").replace("\n#ldm,", "\nldm,").replace("\n#data,", "\ndata,")
    assert [fault.split(": ", 1)[1] for fault in faults_of(text)] == [
        "INFO - no node lists service:web: it never starts",
        "INFO - no node lists application:ldm: it never starts",
        "INFO - no node lists filesystem:data: it never starts",
    ]


def test_a_good_file(tmp_path: Path, good: str) -> None:
    """Exit 0; grep finds the summary alone, and failback, whose name has `fail` in it."""
    path = tmp_path / "cm.cfg"
    path.write_text(good)
    code, lines = check(path, machine(0o755))
    assert code == 0
    found = [line for line in lines if GREP.search(line)]
    assert found == ["failback = auto", f"{path}: errors 0, warnings 0, infos 0: can be used"]
    assert lines[-1] == found[-1]


def test_warnings_alone_are_exit_2(tmp_path: Path, good: str) -> None:
    """A file that can be used and should be looked at; INFO does not count."""
    path = tmp_path / "cm.cfg"
    path.write_text(good.replace("email = root", ""))
    code, lines = check(path, machine(0o755))
    assert (code, lines[-1]) == (0, f"{path}: errors 0, warnings 0, infos 1: can be used")
    path.write_text(good + "odd = 1\n")
    code, lines = check(path, machine(0o755))
    assert (code, lines[-1]) == (2, f"{path}: errors 0, warnings 1, infos 0: can be used")


def test_errors_are_exit_1(tmp_path: Path, good: str) -> None:
    """Whatever else there is; the settings are printed all the same."""
    path = tmp_path / "cm.cfg"
    path.write_text(good.replace("primary = one", "primary = x") + "odd = 1\n")
    code, lines = check(path, machine(0o644))
    assert code == 1
    assert "primary = x" in lines
    assert [line.split(" - ")[0] for line in lines if " - " in line] == [
        f"{path}:{place}" for place in ("5: ERROR", "7: ERROR", "9: ERROR", "31: ERROR", "37: WARNING")
    ]
    assert lines[-1] == f"{path}: errors 4, warnings 1, infos 0: can't be used, correct the errors"


def test_it_looks_at_this_machine(tmp_path: Path, good: str) -> None:
    """Without another host it is this one's name that must be in the file."""
    path = tmp_path / "cm.cfg"
    path.write_text(good)
    code, lines = check(path)
    assert code == 1
    assert any(f"hostname = {os.uname().nodename}, which" in line for line in lines)


def test_what_can_not_be_read_is_one_line(tmp_path: Path) -> None:
    """A directory, a binary file: one ERROR line, the summary, exit 1."""
    (tmp_path / "binary").write_bytes(b"\0\1\2" * 100)
    for path in (tmp_path, tmp_path / "binary"):
        code, lines = check(path)
        assert code == 1
        assert len(lines) == 2
        assert lines[0].startswith(f"{path}:1: ERROR - ")


@pytest.mark.parametrize("which", ["good", "legacy", "template"])
def test_printcfg_can_be_read_again(draft_of: Read, good: str, legacy: str, which: str) -> None:
    """What printcfg prints means what was read: the same digest, and no fault that was not there."""
    text = {"good": good, "legacy": legacy, "template": template_text()}[which]
    cluster = draft_of(text).cluster
    printed = printcfg_text(cluster)
    again = draft_of(printed).cluster
    assert again.digest == cluster.digest
    assert printcfg_text(again) == printed


def test_printcfg_shows_every_setting(draft_of: Read, good: str) -> None:
    """Defaults too: no key is left out."""
    printed = printcfg_text(draft_of(good).cluster)
    for setting in ("udpport = 53897", "max_log_size = 5000000", "keep_filesystems = 1", "trash_days = 30"):
        assert setting in printed.splitlines()
    assert "max_delete = 1000 or 10%" in printed.splitlines()
    assert "front, 192.168.1.50, 255.255.255.0, 'ens192|eno8303', /etc/drcm/resources/ipv4addr.sh" in printed
