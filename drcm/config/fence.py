"""`fence_command` of [CM_NODE]: a program with its arguments, or an agent of fence-agents. Pure."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

AGENTS = "/usr/sbin"
PREFIX = "fence:"
PASSWORD_FILE = "passwd_file"  # noqa: S105  ours: the agent gets passwd=, on its standard input
_AGENT = re.compile(r"fence_[a-z0-9_-]{1,60}")
_PARAMETER = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class FenceCall:
    """How a node is fenced: `argv`, and for an agent the parameters that it reads on standard input."""

    argv: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...] = ()

    @property
    def password_file(self) -> str:
        """The file that holds the agent's password; "" = none."""
        return next((value for key, value in self.parameters if key == PASSWORD_FILE), "")


def parse_fence(text: str) -> FenceCall:
    """`/path/program argument ...` (no shell), or `fence:AGENT key=value ...`; else ValueError."""
    words = shlex.split(text)
    agent = words[0].removeprefix(PREFIX) if words and words[0].startswith(PREFIX) else ""
    if words and words[0].startswith("/"):
        return FenceCall(tuple(words))
    pairs = [word.partition("=") for word in words[1:]]
    if not _AGENT.fullmatch(agent) or not all(eq and _PARAMETER.fullmatch(key) for key, eq, _ in pairs):
        raise ValueError(f"no fence_command: {text}")
    parameters = [(key, value) for key, _, value in pairs]
    if not any(key == "action" for key, _ in parameters):
        parameters.append(("action", "off"))
    return FenceCall((f"{AGENTS}/{agent}",), tuple(parameters))
