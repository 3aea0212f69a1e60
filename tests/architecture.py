"""The rooms of ARCHITECTURE.md as tables, and the rules that tests/test_architecture.py enforces.

A new module goes into one of the tables below, on purpose. Each rule yields faults with file and line.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent

# No I/O, no clock, no randomness: the same input gives the same output.
PURE = {
    "drcm": "errors reportview",
    "drcm.config": """
        agentname binding build check_nodes check_policies check_server check_sets checks crond
        faults fence keys lines model ocfmeta policies reading schema settings systemplaces thisnode
        values
    """,
    "drcm.cluster": """
        actions adopting care electorate engine events fencing handover heads holding journey lease lookout
        membership mending messages moving orders pace patience picture placement roll spec stat upkeep
        vacancy
    """,
    "drcm.replication": """
        again gaterequest generation guards kept outcome plan result retention rootstate rsync
        rsyncserver
        transitions verdict
    """,
    "drcm.alerts": "alert message policy",
}
EFFECTS = {
    "drcm": "clock console control history logs paths state",
    "drcm.config": "agentchecks hostchecks load manual ocf report template",
    "drcm.cluster": """
        alerting answers client control daemon fencer grants_file heads_file keeper lateness
        lease_file members moveanswers notify performer pinger programs realtime releasing roll_file
        scheduler service setkeeping setruns triggers watchdog watchers wire
    """,
    "drcm.cluster.agents": """
        address agent application arp catalogue crontab leftover limits neighbour netlink ocf probing process
        registry script systemd
    """,
    "drcm.cluster.transport": "assembler beatcodec certificates datagram endpoint keys stream tls",
    "drcm.replication": """
        archive arguments beginning conflicts custody days deciding diary fanotify founding gate
        gatecalls heldback gatekept gatereceive hooks job link livedata locks looking
        manifest mounts movecommand moves openssh overlooked passes past pastview places process progress push
        putback receiving records remote report resolving role roots run sources sshsetup tidying trash
        undoing watching
    """,
    "drcm.alerts": "channels counted dispatcher ledger settings spool",
}
COMMANDS = {
    "drcm": "report",
    "drcm.cluster": "command",
    "drcm.replication": "command",
    "drcm.alerts": "command",
}

# Packages and what they may import beside themselves. Only commands import commands.
SIDES = ("drcm.cluster", "drcm.replication", "drcm.alerts")  # these do not know of each other
WIRING = {  # except here: put together
    "drcm.cluster.daemon",
    "drcm.cluster.heads",
    "drcm.cluster.setkeeping",
    "drcm.reportview",
}

ONE_IMPORTER = {
    "paramiko": "drcm.replication.remote",
    "sh": "drcm.replication.process",
    "rich": "drcm.console",
    "apscheduler": "drcm.cluster.triggers",
}
HEAVY = {*ONE_IMPORTER, "cryptography", "msgspec", "cronsim", "tzlocal"}
STARTS_WITHOUT = {  # module -> libraries that must not be loaded with it, at any depth
    "drcm.replication.gate": HEAVY,
    "drcm.cluster.keeper": HEAVY,
    "drcm.cluster.daemon": set(ONE_IMPORTER),  # the main loop beats before it imports anything heavy
}

PURE_STDLIB = """
    __future__ abc base64 binascii bisect collections contextlib copy dataclasses datetime difflib
    enum fnmatch fractions functools hashlib heapq hmac ipaddress itertools json math operator
    posixpath re shlex string struct textwrap types typing unicodedata xml
"""
PURE_LIBRARIES = {"cronsim": "drcm.config.values"}  # computes; given a start, it asks no clock
PURE_NAMES = {  # of modules that are only partly pure
    "os": {"fsdecode", "fsencode", "fspath"},
    "os.path": {
        "basename",
        "commonpath",
        "dirname",
        "isabs",
        "join",
        "normpath",
        "relpath",
        "split",
        "splitext",
    },
    "pathlib": {"PurePath", "PurePosixPath"},
}
PURE_NAMES["posixpath"] = PURE_NAMES["os.path"]
CLOCKS = {"now", "today", "utcnow"}  # of datetime and date
IMPURE_BUILTINS = {"open", "print", "input", "exec", "eval", "breakpoint", "__import__"}

MODULE_LINES = 400
FUNCTION_LINES = 70
USUAL_LINES = 40  # nine functions in ten


@dataclass(frozen=True)
class Import:
    """One imported module, what was taken from it (or its other name), and how."""

    module: str
    names: tuple[str, ...]
    line: int
    typing_only: bool = False
    late: bool = False


@dataclass(frozen=True)
class Module:
    """A source file of the package."""

    name: str
    path: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def imports(self) -> list[Import]:
        return list(_imports(self.tree, False, False))

    def fault(self, line: int, rule: str) -> str:
        return f"{self.path}:{line}: {rule}"


def _imports(node: ast.AST, typing_only: bool, late: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                renamed = (f"(as {alias.asname})",) if alias.asname else ()
                yield Import(alias.name, renamed, child.lineno, typing_only, late)
        elif isinstance(child, ast.ImportFrom):
            names = tuple(alias.name for alias in child.names)
            yield Import("." * child.level + (child.module or ""), names, child.lineno, typing_only, late)
        else:
            guarded = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, typing_only or guarded, late or function)


def modules() -> dict[str, Module]:
    """Every module of drcm by its dotted name; a package is its __init__."""
    found = {}
    for path in sorted((ROOT / "drcm").rglob("*.py")):
        relative = path.relative_to(ROOT)
        name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        found[name] = Module(name, str(relative), path.read_text())
    return found


def _listed(table: dict[str, str]) -> set[str]:
    return {f"{package}.{name}" for package, names in table.items() for name in names.split()}


ROOMS = {"pure": _listed(PURE), "effects": _listed(EFFECTS), "commands": _listed(COMMANDS)}


def targets(item: Import) -> list[str]:
    """The modules of drcm that an import loads: `from drcm import state` is drcm.state."""
    below = [f"{item.module}.{name}" for name in item.names]
    known = [name for name in below if any(name in room for room in ROOMS.values())]
    return known or [item.module]


def ours(item: Import) -> bool:
    return item.module.split(".")[0] == "drcm"


# -- rules: each yields the faults of one module ---------------------------------------------------


def room_faults(module: Module) -> Iterator[str]:
    rooms = [room for room, names in ROOMS.items() if module.name in names]
    package = module.path.endswith("__init__.py")
    if not package and len(rooms) != 1:
        yield module.fault(1, f"{module.name} must be in one room of tests/architecture.py, is in {rooms}")
    if package and module.imports:
        yield module.fault(
            module.imports[0].line, "a package's __init__ imports nothing: all would pay for it"
        )
    says_pure = re.search(r"\bPure\b(?! Python)", ast.get_docstring(module.tree) or "")
    if says_pure and module.name not in ROOMS["pure"]:
        yield module.fault(1, "says that it is pure, and is not in the pure room")


def direction_faults(module: Module) -> Iterator[str]:
    for item in module.imports:
        if item.module.startswith("."):
            yield module.fault(item.line, "imports are absolute")
        if ours(item) and not item.typing_only:
            for target in targets(item):
                if reason := _forbidden(module.name, target):
                    yield module.fault(item.line, f"{module.name} must not import {target}: {reason}")


def _forbidden(name: str, target: str) -> str:
    if name in ROOMS["commands"]:
        return ""
    if target in ROOMS["commands"]:
        return "only commands import commands"
    side, other = _side(name), _side(target)
    if other and other != side and name not in WIRING:
        return f"{side or 'what all share'} does not know of {other}"
    if name.startswith("drcm.config.") and not target.startswith(("drcm.config", "drcm.errors")):
        return "" if target in ("drcm", "drcm.clock", "drcm.paths", "drcm.state") else "config is below it"
    return ""


def _side(name: str) -> str:
    return next((side for side in SIDES if name == side or name.startswith(side + ".")), "")


def library_faults(module: Module) -> Iterator[str]:
    for item in module.imports:
        owner = ONE_IMPORTER.get(item.module.split(".")[0], module.name)
        if owner != module.name and not item.typing_only:
            yield module.fault(item.line, f"only {owner} imports {item.module.split('.')[0]}")


def purity_faults(module: Module) -> Iterator[str]:
    if module.name in ROOMS["pure"]:
        for item in module.imports:
            if reason := _impure_import(module.name, item):
                yield module.fault(item.line, f"pure, but {reason}")
        for node in ast.walk(module.tree):
            if reason := _impure_expression(node):
                yield module.fault(getattr(node, "lineno", 1), f"pure, but {reason}")


def _impure_import(name: str, item: Import) -> str:
    if ours(item):
        impure = [one for one in targets(item) if one not in ROOMS["pure"] and one not in PURE]
        return f"imports {impure[0]}, which is not" if impure else ""
    if item.module in PURE_NAMES:
        impure = [one for one in item.names if one not in PURE_NAMES[item.module]]
        return f"imports {item.module}.{impure[0]}" if impure else ""
    top = item.module.split(".")[0]
    allowed = top in PURE_STDLIB.split() or PURE_LIBRARIES.get(top) == name
    return "" if allowed else f"imports {item.module}"


def _impure_expression(node: ast.AST) -> str:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_BUILTINS:
        return f"calls {node.func.id}()"
    if not isinstance(node, ast.Attribute):
        return ""
    owner = ast.unparse(node.value)
    if owner.split(".")[-1] in ("datetime", "date") and node.attr in CLOCKS:
        return f"asks the clock: {owner}.{node.attr}"
    if (
        owner in PURE_NAMES
        and node.attr not in PURE_NAMES[owner]
        and f"{owner}.{node.attr}" not in PURE_NAMES
    ):
        return f"uses {owner}.{node.attr}"
    return ""


def cancel_faults(module: Module) -> Iterator[str]:
    """asyncio.wait_for of Python 3.11 loses a cancellation that comes as what it waits for ends."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr == "wait_for":
            yield module.fault(node.lineno, "wait_for may lose a cancellation: async with asyncio.timeout()")


def length_faults(module: Module) -> Iterator[str]:
    lines = len(module.source.splitlines())
    if lines > MODULE_LINES:
        yield module.fault(MODULE_LINES + 1, f"{lines} lines: a module has at most {MODULE_LINES}")
    for name, line, length in functions(module):
        if length > FUNCTION_LINES:
            yield module.fault(line, f"{name} has {length} lines: a function has at most {FUNCTION_LINES}")


def functions(module: Module) -> Iterator[tuple[str, int, int]]:
    """(name, line, number of lines) of every function and method."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1


def start_faults(name: str, all_modules: dict[str, Module]) -> Iterator[str]:
    """Libraries that are loaded when `name` is imported and must not be; late imports cost nothing then."""
    seen, todo = {name}, [name]
    while todo:
        module = all_modules.get(todo.pop())
        for item in [] if module is None else module.imports:
            top = item.module.split(".")[0]
            if item.typing_only or item.late or module is None:
                continue
            if top in STARTS_WITHOUT[name]:
                yield module.fault(item.line, f"{name} must start without {top}")
            new = [one for one in targets(item) if ours(item) and one not in seen]
            seen.update(new)
            todo.extend(new)


RULES = (room_faults, direction_faults, library_faults, purity_faults, cancel_faults, length_faults)
