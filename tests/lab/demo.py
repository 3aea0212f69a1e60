"""make demo: two servers, a power cut, a failover and the way back, live, with measured times.

Everything runs in network namespaces on this machine and nothing of it is left. Exit status: 0 with one line
`DEMO OK ...`, 1 with `DEMO FAILED: reason`, 130 after ^C.
"""

from __future__ import annotations

import signal
import sys

from drcm.errors import DrcmError
from tests.lab import Lab, LabError, Node
from tests.lab.demo_cluster import IP
from tests.lab.demo_show import Rows, Show
from tests.lab.demo_story import Story

LOG_LINES = 30
# key of Story.times -> what it is called in the table
MEASURED = {
    "detected": "power cut -> cmnode2 calls cmnode1 dead",
    "writer": "power cut -> cmnode2 is writer of the files",
    "crontab": "power cut -> crontab installed on cmnode2",
    "answer": f"power cut -> {IP} answers the client",
    "bulk": "failback: files sent while cmnode2 still serves",
    "interruption": f"failback: {IP} away",
    "stop": f"clean stop: {IP} away, last sync included",
    "given": f"clean stop: from the hand-over's end to {IP}'s answer",
}


def main() -> int:
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGHUP, _interrupted)
    show = Show()
    show.title("drcm demo: two servers, one power cut, no file lost. Half a minute.")
    try:
        return _demo(show)
    except KeyboardInterrupt:
        show.plain("interrupted: the two servers are gone, nothing is left")
        return 130
    except (LabError, DrcmError, OSError) as error:
        return _failed(show, str(error))


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _demo(show: Show) -> int:
    with Lab() as lab:
        story = Story(lab, show)
        try:
            story.run()
        except (LabError, DrcmError, OSError):
            _tails(lab, show)
            raise
    show.table("Measured", ("what", "seconds"), _rows(story.times))
    show.plain("")
    show.plain(_verdict(story), "bold green")
    return 0


def _rows(times: dict[str, float]) -> Rows:
    return [(text, f"{times[key]:.2f}") for key, text in MEASURED.items()]


def _verdict(story: Story) -> str:
    times = story.times
    return (
        f"DEMO OK address back {times['answer']:.2f} s after the power cut, "
        f"failback interruption {times['interruption']:.2f} s, clean stop {times['stop']:.2f} s, "
        f"{len(story.expected)} files equal, 2 unsent files kept, never two holders"
    )


def _tails(lab: Lab, show: Show) -> None:
    for node in lab.hosts.values():
        if isinstance(node, Node):
            show.output(f"the end of {node.name}'s log", node.daemon_log().splitlines()[-LOG_LINES:])


def _failed(show: Show, reason: str) -> int:
    first, *more = reason.splitlines() or [""]
    for line in more:
        show.plain(f"  {line}")
    show.plain(f"DEMO FAILED: {first}", "bold red")
    return 1


if __name__ == "__main__":
    sys.exit(main())
