"""What can stand in the script column on this node, and what it takes: the console's `agents`."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from textwrap import fill, indent

from drcm.cluster.agents.systemd import ASK_SECONDS, SYSTEMD
from drcm.config import ocf
from drcm.config.agentname import EXPECTED, Ocf, Unit, parse
from drcm.config.ocfmeta import MetaData, Parameter
from drcm.config.settings import hint
from drcm.errors import EXIT_USAGE, DrcmError
from drcm.paths import shipped_resources

BUILT_IN = {
    "ipv4addr.sh": "floating address, IPv4 or IPv6: done in process, watched by the kernel's own events",
    "ipv4addr_multi.sh": "the same",
    "crontab.sh": "crontab from a template: done in process",
}
WIDTH = 100


def listing() -> str:
    """Everything that this node has, one heading a kind."""
    blocks = ["In the script column of cm.cfg may stand " + EXPECTED + ".", _scripts()]
    blocks += [
        _block(f"OCF agents, as ocf:{name}:AGENT", _wrapped(ocf.agents(name))) for name in ocf.providers()
    ]
    if not ocf.providers():
        blocks.append(_block("OCF agents", "none here; Debian: apt-get install resource-agents"))
    blocks.append(_block("systemd units, as systemd:UNIT", _systemd()))
    return "\n\n".join([*blocks, "More of one: agents NAME"]) + "\n"


def about(name: str) -> str:
    """Parameters and time limits of one agent, or the head of one script. DrcmError for an unknown name."""
    found = _script(name)
    if found is not None:
        return _head(found)
    try:
        meant = parse(name if name.startswith(("ocf:", "systemd:")) else f"ocf:{name}")
    except ValueError as error:
        raise _unknown(name, str(error)) from None
    if isinstance(meant, Unit):
        return _unit(meant.name)
    assert isinstance(meant, Ocf)
    return _ocf(meant, name)


def _scripts() -> str:
    rows = []
    for _, path in sorted(_all_scripts().items()):
        summary = BUILT_IN.get(path.name) or _summary(path)
        rows.append(f"{path.name:<25} {summary}")
    folder = shipped_resources()[0]
    return _block(f"Scripts, as {folder}/NAME, or any of your own", "\n".join(rows) or "none")


def _all_scripts() -> dict[str, Path]:
    """Name -> file; the first folder that has one counts, as in a start."""
    found: dict[str, Path] = {}
    for folder in shipped_resources():
        for path in folder.glob("*.sh"):
            found.setdefault(path.name, path)
    return found


def _script(name: str) -> Path | None:
    if "/" in name:
        return Path(name) if Path(name).is_file() else None
    scripts = _all_scripts()
    return scripts.get(name) or scripts.get(f"{name}.sh")


def _head(path: Path) -> str:
    """The comment that it begins with."""
    lines = path.read_text(errors="replace").splitlines()[1:]
    count = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:count])
    return f"{path}\n{indent(text.strip() or 'a program without a comment', '  ')}\n"


def _summary(path: Path) -> str:
    text = _head(path).splitlines()[1:2]
    return "".join(text).strip().partition(": ")[0][:70]


def _ocf(meant: Ocf, name: str) -> str:
    if meant.agent not in ocf.agents(meant.provider):
        raise _unknown(
            name, f"no OCF agent {meant} on this node{hint(meant.agent, ocf.agents(meant.provider))}"
        )
    try:
        meta = ocf.meta_data(meant.provider, meant.agent)
    except ValueError as error:
        raise DrcmError(f"{meant}: {error}") from None
    blocks = [f"{meant}: {meta.short}", *(_described(p) for p in meta.parameters), _limits(meta)]
    return "\n".join(blocks) + "\n"


def _described(parameter: Parameter) -> str:
    default = f", default '{parameter.default}'" if parameter.default else ""
    required = ", REQUIRED" if parameter.required and not parameter.default else ""
    text = parameter.long or parameter.short
    head = f"  {parameter.name} ({parameter.kind}{default}{required})"
    return f"{head}\n{fill(' '.join(text.split()), WIDTH, initial_indent=' ' * 6, subsequent_indent=' ' * 6)}"


def _limits(meta: MetaData) -> str:
    told = ", ".join(f"{action} {limit:g} s" for action, limit in meta.timeouts.items())
    return f"  Time limits unless cm.cfg says otherwise: {told or 'none given'}"


def _systemd() -> str:
    if not SYSTEMD.is_dir():
        return "systemd does not run on this node; service.sh uses `service`"
    lines = _systemctl("list-unit-files", "--type=service", "--no-legend", "--no-pager").splitlines()
    return _wrapped(sorted(line.split()[0] for line in lines if line.split() and "@." not in line))


def _unit(name: str) -> str:
    if not SYSTEMD.is_dir():
        raise DrcmError(f"systemd:{name}: systemd does not run on this node", "Use service.sh.")
    return _systemctl("show", "--property=Id,Description,LoadState,ActiveState,UnitFileState", name)


def _systemctl(*words: str) -> str:
    try:
        done = subprocess.run(
            ["systemctl", *words], capture_output=True, text=True, timeout=ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"systemctl gives no answer: {error}\n"
    return done.stdout


def _unknown(name: str, why: str) -> DrcmError:
    return DrcmError(f"{name}: {why}", "See: agents", EXIT_USAGE)


def _wrapped(words: Iterable[str]) -> str:
    return fill(" ".join(words), WIDTH, break_on_hyphens=False, break_long_words=False)


def _block(heading: str, text: str) -> str:
    return f"{heading}\n{indent(text, '  ')}"
