"""OCF agents and systemd units in the script column: read, and held against what a machine has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from drcm.config import ocfmeta
from drcm.config.agentchecks import Agents, check_agent
from drcm.config.agentname import Ocf, Script, Unit, from_columns, parse
from drcm.config.build import Draft
from drcm.config.model import Address, FileSystem, Service
from drcm.config.reading import read_text
from drcm.config.report import printcfg_text

META = """<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="box" version="1.0">
<longdesc lang="en">A box.</longdesc><shortdesc lang="en">box</shortdesc>
<parameters>
<parameter name="path" required="1"><shortdesc lang="en">where it is</shortdesc>
<content type="string"/></parameter>
<parameter name="depth" required="1"><shortdesc>d</shortdesc><content type="integer" default="3"/></parameter>
<parameter name="ip" required="1"><shortdesc>i</shortdesc><content type="string"/></parameter>
</parameters>
<actions>
<action name="start" timeout="2m"/><action name="stop" timeout="500ms"/>
<action name="monitor" timeout="20s" depth="0"/><action name="monitor" timeout="30s" depth="10"/>
</actions>
</resource-agent>
"""
WEB = Address("web", "10.0.0.5", 24, ("eno9", "eth0"), "")


def no_answer(name: Ocf, parameters: Mapping[str, str]) -> tuple[int, str]:
    return 0, ""


MACHINE = Agents(
    ocf_agents=lambda provider: ["box", "IPaddr2"] if provider == "heartbeat" else [],
    meta_data=lambda provider, agent: ocfmeta.parse(META),
    validate=no_answer,
    unit=lambda unit: ("loaded", "disabled") if unit == "nginx.service" else ("not-found", ""),
)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("/etc/drcm/resources/service.sh", Script("/etc/drcm/resources/service.sh")),
        ("service.sh", Script("service.sh")),
        ("ocf:heartbeat:IPaddr2", Ocf("heartbeat", "IPaddr2")),
        ("ocf:IPaddr2", Ocf("heartbeat", "IPaddr2")),
        ("ocf::heartbeat:IPaddr2", Ocf("heartbeat", "IPaddr2")),
        (
            """ocf:mine:x a=1 b="two words" c='rw,noatime' d=""",
            Ocf("mine", "x", (("a", "1"), ("b", "two words"), ("c", "rw,noatime"), ("d", ""))),
        ),
        ("systemd:nginx.service", Unit("nginx.service")),
        ("systemd:nginx", Unit("nginx.service")),
        ("systemd:backup@home.timer", Unit("backup@home.timer")),
    ],
)
def test_what_the_script_column_names(text: str, meant: object) -> None:
    """A path, an OCF agent with its parameters as a shell would split them, or a unit."""
    assert parse(text) == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ocf:", "expected ocf:PROVIDER:AGENT"),
        ("ocf:a:b:c", "expected ocf:PROVIDER:AGENT"),
        ("ocf:heartbeat:../../bin/sh", "expected ocf:PROVIDER:AGENT"),
        ("ocf:heartbeat:x nic", "'nic': expected name=value"),
        ("ocf:heartbeat:x a=1 a=2", "a is given twice"),
        ("ocf:heartbeat:x a='1", "No closing quotation"),
        ("systemd:", "expected systemd:UNIT"),
        ("systemd:../x", "expected systemd:UNIT"),
    ],
)
def test_what_it_can_not_name(text: str, said: str) -> None:
    """No path can be smuggled in, and nothing is guessed."""
    with pytest.raises(ValueError, match=said):
        parse(text)


def test_other_columns_are_parameters_already() -> None:
    """Address and mask, device and directory, a container's name: written out they go first."""
    assert from_columns(WEB, "IPaddr2", "eth0") == {
        "ip": "10.0.0.5", "ipv6addr": "10.0.0.5", "cidr_netmask": "24", "nic": "eth0",
    }  # fmt: skip
    disk = FileSystem("d", "/dev/sdb1", "/data", "")
    assert from_columns(disk, "Filesystem") == {"device": "/dev/sdb1", "directory": "/data"}
    assert from_columns(Service("s", "web", ""), "podman") == {"name": "web"}
    assert from_columns(Service("s", "web", ""), "apache") == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20s", 20.0), ("20", 20.0), ("1m", 60.0), ("500ms", 0.5), ("1h", 3600.0), ("soon", None), ("", None)],
)
def test_times_of_meta_data(text: str, expected: float | None) -> None:
    """As Pacemaker reads them."""
    assert ocfmeta.seconds(text) == expected


def test_meta_data_is_read_and_other_text_is_refused() -> None:
    """Parameters with their defaults, timeouts in seconds; the shallow monitor's counts."""
    meta = ocfmeta.parse(META)
    assert [(p.name, p.required, p.default) for p in meta.parameters] == [
        ("path", True, None),
        ("depth", True, "3"),
        ("ip", True, None),
    ]
    assert dict(meta.timeouts) == {"start": 120.0, "stop": 0.5, "monitor": 20.0}
    for text in ("", "no such file", "<html/>"):
        with pytest.raises(ValueError, match="meta-data"):
            ocfmeta.parse(text)


def told(text: str, machine: Agents = MACHINE) -> list[tuple[bool, str]]:
    name = parse(text)
    assert not isinstance(name, Script)
    resource = replace(WEB, script=text) if isinstance(name, Ocf) else Service("s", "nginx", text)
    return list(check_agent(resource, name, machine, frozenset({"eth0"})))


def test_agents_and_parameters_are_checked_against_the_machine() -> None:
    """An unknown parameter is a warning with the nearest name, a missing one an error, columns count."""
    assert told("ocf:heartbeat:box path=/x") == []
    assert told("ocf:heartbeat:box path=/x OCF_CHECK_LEVEL=10") == []
    ((bad, text),) = told("ocf:heartbeat:box")
    assert bad
    assert "needs path=...: where it is" in text
    ((bad, text),) = told("ocf:heartbeat:box path=/x dept=2")
    assert not bad
    assert "has no parameter dept (did you mean 'depth'?)" in text
    ((bad, text),) = told("ocf:heartbeat:IPaddr")
    assert bad
    assert "no OCF agent ocf:heartbeat:IPaddr on this machine (did you mean 'IPaddr2'?)" in text
    ((bad, text),) = told("ocf:other:thing")
    assert bad
    assert "apt-get install resource-agents" in text


def test_what_an_agent_says_of_its_parameters_is_a_warning() -> None:
    """Its validate-all looks at this moment's machine: what it misses may be mounted elsewhere."""
    picky = replace(MACHINE, validate=lambda name, parameters: (6, f"ERROR: no {parameters['path']}\n"))
    ((bad, text),) = told("ocf:heartbeat:box path=/x", picky)
    assert not bad
    assert text == "ocf:heartbeat:box says of these parameters: wrong parameters: ERROR: no /x"


def test_units_are_checked_against_the_machine() -> None:
    """There must be a systemd that knows it, and it must not be enabled beside drcm."""
    assert told("systemd:nginx") == []
    assert told("systemd:ngnx")[0] == (
        True,
        "systemd knows no unit ngnx.service here (not-found); install it or correct the name",
    )
    ((bad, text),) = told("systemd:nginx", replace(MACHINE, unit=lambda unit: ("loaded", "enabled")))
    assert not bad
    assert "systemctl disable nginx.service" in text
    ((bad, text),) = told("systemd:nginx", replace(MACHINE, unit=lambda unit: None))
    assert bad
    assert "use service.sh" in text
    ((bad, text),) = check_agent(WEB, Unit("x.service"), MACHINE, frozenset())
    assert bad
    assert "can't bring an address" in text


def test_commas_and_quotes_in_parameters_survive_reading_and_printing(
    good: str, draft_of: Callable[[str], Draft]
) -> None:
    """The script column is the last: what looks like more columns is the agent's."""
    agent = """ocf:heartbeat:apache options="a, b" configfile=/x,y"""
    text = good.replace("web, httpd, /etc/drcm/resources/service.sh", f"web, httpd, {agent}")
    draft = draft_of(text)
    assert next(r for r in draft.cluster.resources if r.nickname == "web").script == agent  # type: ignore[union-attr]
    assert draft_of(printcfg_text(draft.cluster)).cluster.digest == draft.cluster.digest


def test_a_broken_agent_is_told_at_its_line(good: str) -> None:
    """As every other column."""
    reading = read_text(
        good.replace("/etc/drcm/resources/service.sh", "ocf:heartbeat:apache configfile"), "F"
    )
    (fault,) = [fault for fault in reading.faults if "resource_script" in fault.text]
    assert fault.line == 9
    assert "expected a script, ocf:PROVIDER:AGENT name=value ..., or systemd:UNIT" in fault.text
