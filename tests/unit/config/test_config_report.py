"""--check-config and printcfg: what a person sees, and what grep finds in it."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from drcm.config.build import Draft
from drcm.config.report import check_config, printcfg_text
from drcm.config.template import template_text, write_template

Read = Callable[[str], Draft]
GREP = re.compile("error|warn|fail|info", re.IGNORECASE)


def check(path: Path) -> tuple[int, list[str]]:
    out = io.StringIO()
    code = check_config(path, out)
    return code, out.getvalue().splitlines()


@pytest.fixture
def here(good: str, tmp_path: Path) -> str:
    """The good file as this machine's own: its name, its address, its directories."""
    for name in ("run", "log", "spool"):
        (tmp_path / name).mkdir()
    (tmp_path / "user_crons").write_text("* * * * * root true\n")
    directories = "".join(f"{name}_dir = {tmp_path}/{name}\n" for name in ("run", "log", "spool"))
    text = good.replace("dead_node_count = 20\n", f"dead_node_count = 20\n{directories}")
    text = text.replace("/etc/drcm/crontabs/user_crons", str(tmp_path / "user_crons"))
    return text.replace("one.example.org", os.uname().nodename).replace("ens192|eno8303", "lo")


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
        r"#(\[|witness = 1|(name|primary|backups|mirror|copy|schedule|nodename|hostname|keep_alive_ip) =)"
    )
    text = "\n".join(line[1:] if wanted.match(line) else line for line in lines)
    text = text.replace("\n#web,", "\nweb,").replace("\n#ldm,", "\nldm,").replace("\n#data,", "\ndata,")
    assert [fault.split(": ", 1)[1] for fault in faults_of(text)] == [
        "INFO - no node lists service:web: it never starts",
        "INFO - no node lists application:ldm: it never starts",
        "INFO - no node lists filesystem:data: it never starts",
    ]


def test_a_good_file(tmp_path: Path, here: str) -> None:
    """Exit 0; every setting is printed; grep finds the summary, and failback, whose name has `fail` in it."""
    path = tmp_path / "cm.cfg"
    path.write_text(here.replace("192.168.1.1\n", "127.0.0.1\n"))
    code, lines = check(path)
    found = [line for line in lines if GREP.search(line)]
    assert code == 2  # a keep alive IP on the loopback is a warning
    assert "WARNING - keep_alive_ip 127.0.0.1" in found[1]
    assert found[0] == "failback = auto"
    assert found[2:] == [f"{path}: errors 0, warnings 1, infos 0: can be used"]
    assert lines[-1] == found[-1]


def test_exit_codes(tmp_path: Path, here: str) -> None:
    """1 with an error, whatever else there is; 0 with nothing but INFO."""
    path = tmp_path / "cm.cfg"
    path.write_text(here.replace("primary = one", "primary = x"))
    code, lines = check(path)
    assert code == 1
    assert "ERROR - primary: there is no node x" in "\n".join(lines)
    assert "primary = x" in lines  # the settings are printed all the same
    path.write_text(f"[CM_NODE]\nnodename = a\nhostname = {os.uname().nodename}\nkeep_alive_ip = 127.0.0.2\n")
    assert check(path)[0] == 2
    text = path.read_text().replace("127.0.0.2", "fe80::1")
    path.write_text(text)
    assert check(path)[0] in {0, 2}  # fe80::1 is here or it isn't; no error either way


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
