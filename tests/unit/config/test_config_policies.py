"""[CM_RESOURCE]: what it says of a resource, what moves together, and in what order it starts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from drcm.config.binding import bound, cycle, in_order, needs_of
from drcm.config.build import Draft
from drcm.config.fence import FenceCall, parse_fence
from drcm.config.model import Kind, ResourceRef
from drcm.config.report import printcfg_text

Read = Callable[[str], Draft]
WEB, FRONT, USER = (
    ResourceRef(Kind.SERVICE, "web"),
    ResourceRef(Kind.ADDRESS, "front"),
    ResourceRef(Kind.CRONTAB, "user"),
)


def test_its_own_section_counts_before_its_kinds(draft_of: Read, good: str) -> None:
    """service:* is for every service; what service:web says itself comes first."""
    said = """
[CM_RESOURCE]
resource = service:*
stop_timeout = 5m
restart_limit = 0
[CM_RESOURCE]
resource = service:web, cron:user
restart_limit = 7
"""
    cluster = draft_of(good + said).cluster
    web = cluster.policy(Kind.SERVICE, "web")
    assert (web.restart_limit, web.stop_timeout, web.start_timeout) == (7, 300.0, None)
    assert cluster.policy(Kind.SERVICE, "other").restart_limit == 0
    assert cluster.policy(Kind.CRONTAB, "user").stop_timeout is None
    assert cluster.policy(Kind.ADDRESS, "front").restart_limit is None


def test_printcfg_says_the_same(draft_of: Read, good: str) -> None:
    """Reading what printcfg prints gives the same digest, whatever the order of the sections was."""
    said = (
        "\n[CM_RESOURCE]\nresource = cron:user\ndepends = ip:front\nstart_timeout = 1m\n"
        "[CM_RESOURCE]\nresource = ip:front\ngroup = site\nrestart_window = 90\n"
    )
    first = draft_of(good + said).cluster
    again = draft_of(printcfg_text(first)).cluster
    assert again.digest == first.digest != draft_of(good).cluster.digest


def test_depends_and_group_bind(draft_of: Read, good: str) -> None:
    """What depends on another, and what is in one group, moves as one; the rest by itself."""
    listed = good.replace("node_services = web\n[", "node_services = web, mail\n[", 1).replace(
        "web, httpd", "mail, postfix, service.sh\nweb, httpd"
    )
    said = (
        "\n[CM_RESOURCE]\nresource = ip:front\ndepends = cron:user\n"
        "[CM_RESOURCE]\nresource = service:web, cron:user\ngroup = site\n"
    )
    cluster = draft_of(listed + said).cluster
    mail = ResourceRef(Kind.SERVICE, "mail")
    groups = bound(cluster, cluster.node("one"))
    assert sorted(map(len, groups)) == [1, 3]
    assert (mail,) in groups
    assert in_order([USER, WEB, FRONT], needs_of(cluster, (USER, WEB, FRONT))) == [WEB, USER, FRONT]


def test_the_order_of_kinds_where_nothing_depends() -> None:
    """Addresses, services, crontabs."""
    assert in_order([USER, WEB, FRONT], {}) == [FRONT, WEB, USER]


def test_a_cycle_is_found_behind_what_is_none() -> None:
    """Only the resources of the ring itself are named."""
    assert cycle({USER: [WEB], WEB: [FRONT], FRONT: []}) == []
    assert cycle({USER: [WEB], WEB: [FRONT], FRONT: [WEB]}) == [WEB, FRONT]


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("/opt/off --node='the third'", FenceCall(("/opt/off", "--node=the third"))),
        (
            "fence:fence_virsh ip=10.0.0.1 username=root passwd_file=/etc/drcm/.auth/virsh",
            FenceCall(
                ("/usr/sbin/fence_virsh",),
                (
                    ("ip", "10.0.0.1"),
                    ("username", "root"),
                    ("passwd_file", "/etc/drcm/.auth/virsh"),
                    ("action", "off"),
                ),
            ),
        ),
        (
            "fence:fence_ipmilan ip=a action=reboot",
            FenceCall(("/usr/sbin/fence_ipmilan",), (("ip", "a"), ("action", "reboot"))),
        ),
    ],
)
def test_a_fence_command(text: str, call: FenceCall) -> None:
    """A program's own arguments, or an agent's parameters; an agent cuts power unless told otherwise."""
    assert parse_fence(text) == call


@pytest.mark.parametrize(
    "text", ["", "off", "fence:/bin/sh a=b", "fence:fence_x a b", "'/opt/off", "fence:../x a=b", "fence:"]
)
def test_no_fence_command(text: str) -> None:
    """No relative program, no path in an agent's name, no open quote."""
    with pytest.raises(ValueError, match=r"fence_command|No closing quotation"):
        parse_fence(text)
