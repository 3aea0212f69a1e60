"""drcm-alert: tell people about trouble, under one durable throttle a problem."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from drcm import __version__
from drcm.alerts.alert import ACTION, BODY_LENGTH, Alert, Key, Kind, alert, check_key, custom
from drcm.errors import EXIT_CONFIG, EXIT_FAILED, EXIT_NO_INPUT, EXIT_OK, DrcmError
from drcm.paths import Paths, paths

if TYPE_CHECKING:
    from drcm.alerts.channels import Mail
    from drcm.alerts.dispatcher import OpenProblem, Outcome
    from drcm.alerts.settings import Settings
    from drcm.config.model import Alerts

EPILOG = """\
exit codes: 0 done (also where the throttle held it back, or it waits in the spool), 1 a channel failed
(test), 2 usage, 66 no such file, 78 cm.cfg has errors or no [CM_ALERTS] recipients. See drcm-alert(8)."""


def main(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    from drcm.console import run_command

    arguments = _parser().parse_args(argv)
    return run_command(lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="drcm-alert",
        description="Tell people about trouble, once a problem and throttle.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"drcm-alert {__version__}")
    parser.add_argument("--config", type=Path, help="cm.cfg (default: $DRCM_CONFIG or /etc/drcm/cm.cfg)")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("test", help="send a test through every channel and say what each answered")
    _add_send(verbs.add_parser("send", help="send something of your own, throttled by its subject"))
    opened = verbs.add_parser("raise", help="note that a problem is there (what drcm-server runs)")
    opened.add_argument("key", help="KIND:OBJECT, such as node-dead:cmnode2")
    opened.add_argument("-s", "--subject", required=True)
    _add_body(opened)
    over = verbs.add_parser("resolve", help="note that a problem is over")
    over.add_argument("key", help="KIND:OBJECT, as it was raised")
    _add_body(over)
    listed = verbs.add_parser("list", help="show the open problems")
    listed.add_argument("--json", action="store_true", help="one JSON document")
    verbs.add_parser("flush", help="send what waits and what is due")
    return parser


def _add_send(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("-s", "--subject", required=True, help="one line; the throttle goes by it")
    _add_body(verb)


def _add_body(verb: argparse.ArgumentParser) -> None:
    body = verb.add_mutually_exclusive_group()
    body.add_argument("-b", "--body", default="", help="the text")
    body.add_argument("-f", "--file", metavar="FILE", help="read the text from FILE, - is standard input")


def _run(arguments: argparse.Namespace) -> int:
    verbs: dict[str, Callable[[argparse.Namespace, Paths, Settings], int]] = {
        "test": _test,
        "send": _send,
        "raise": _raise,
        "resolve": _resolve,
        "list": _list,
        "flush": _flush,
    }
    from drcm.alerts.settings import current, remember

    here = paths()
    if arguments.config is not None:
        here = replace(here, config=arguments.config)
    settings = current(here)
    if arguments.verb in ("raise", "resolve", "flush"):
        remember(here, settings)
    return verbs[arguments.verb](arguments, here, settings)


def _test_mail(settings: Settings) -> Mail:
    import secrets

    from drcm.alerts.channels import Mail, hostname
    from drcm.clock import wall

    origin = settings.origin
    words = f"This is a test of drcm's alerts from {origin.cluster}, node {origin.node}."
    return Mail(
        id=f"<drcm.{secrets.token_hex(10)}@{hostname()}>",
        key=f"{Kind.TEST}:{origin.node}",
        subject=f"{ACTION} Cluster Alert Test Message",
        body=f"{words}\nIf you read it, this channel works. Nothing needs to be done.\n",
        short=f"TEST {words}",
        date=wall().timestamp(),
    )


# -- verbs -----------------------------------------------------------------------------------------


def _test(_: argparse.Namespace, here: Paths, settings: Settings) -> int:
    """Past throttle and spool: what counts is what each channel says now."""
    from drcm.alerts.channels import deliver, recipients

    _require_recipients(settings.alerts, here)
    good = True
    for channel, addresses in recipients(settings.alerts).items():
        for address in addresses:
            answer = deliver(settings.alerts, channel, (address,), _test_mail(settings))
            words = "accepted" if answer.ok else answer.error or answer.refused[0][1]
            print(f"{channel} {address}: {'OK' if answer.ok else 'FAILED'}, {words}")
            good = good and answer.ok
    print("Accepted is not received: look whether it arrives." if good else "Not every channel works.")
    return EXIT_OK if good else EXIT_FAILED


def _send(arguments: argparse.Namespace, here: Paths, settings: Settings) -> int:
    _require_recipients(settings.alerts, here)
    return _tell(custom(arguments.subject, _body(arguments)), here, settings)


def _raise(arguments: argparse.Namespace, here: Paths, settings: Settings) -> int:
    return _tell(alert(arguments.key, arguments.subject, _body(arguments)), here, settings)


def _tell(what: Alert, here: Paths, settings: Settings) -> int:
    from drcm.alerts.dispatcher import raise_alert

    outcome = raise_alert(here, settings.alerts, what, settings.origin)
    return _say(what.key, outcome)


def _resolve(arguments: argparse.Namespace, here: Paths, settings: Settings) -> int:
    from drcm.alerts.dispatcher import resolve

    check_key(arguments.key)
    outcome = resolve(here, settings.alerts, arguments.key, _body(arguments), settings.origin)
    return _say(arguments.key, outcome)


def _flush(_: argparse.Namespace, here: Paths, settings: Settings) -> int:
    from drcm.alerts.dispatcher import flush

    _require_recipients(settings.alerts, here)
    outcome = flush(here, settings.alerts, settings.origin)
    sent = sum(len(answer.sent) for answer in outcome.answers)
    print(f"Sent to {sent} recipients; {outcome.waiting} messages wait.")
    _complain(outcome)
    return EXIT_OK


def _list(arguments: argparse.Namespace, here: Paths, settings: Settings) -> int:
    from drcm.alerts.dispatcher import open_problems, waiting

    problems, unsent = open_problems(here, settings.alerts), waiting(here)
    if arguments.json:
        document = {"schema": 1, "alerts": [asdict(problem) for problem in problems], "unsent": unsent}
        print(json.dumps(document, indent=1))
    else:
        _show(problems, unsent)
    return EXIT_OK


# -- words -----------------------------------------------------------------------------------------


def _show(problems: list[OpenProblem], unsent: int) -> None:
    from drcm.alerts.message import span
    from drcm.console import console, table

    if not problems:
        print("No open alerts.")
    else:
        columns = ("SEVERITY", "KEY", "SINCE", "TIMES", "NEXT", "SUBJECT")
        rows = [(p.severity, p.key, p.since, str(p.count), span(p.next_seconds), p.subject) for p in problems]
        table(console(), "", columns, rows)
    if unsent:
        print(f"{unsent} messages could not be sent yet. Try now: drcm-alert flush")


def _say(key: Key, outcome: Outcome) -> int:
    """One line about what became of it; what the server said goes to standard error."""
    from drcm.alerts.message import span

    if outcome.muted:
        print(f"{key}: noted; nobody is told: [CM_ALERTS] names no email or sms.")
    elif outcome.word is None:
        wait = f": the next message may go in {span(outcome.wait)}" if outcome.wait else ""
        print(f"{key}: throttled, nothing to say now{wait}.")
    else:
        state = f"{outcome.waiting} messages wait in the spool" if outcome.waiting else "sent"
        print(f"{key}: {outcome.word}, {state}.")
    _complain(outcome)
    return EXIT_OK


def _complain(outcome: Outcome) -> None:
    for answer in outcome.answers:
        for line in ([answer.error] if answer.error else []) + [f"{to}: {why}" for to, why in answer.refused]:
            print(f"drcm-alert: {answer.channel}: {line} (kept, tried again)", file=sys.stderr)


def _body(arguments: argparse.Namespace) -> str:
    """The text of -b, or of -f; read no further than it is used."""
    if arguments.file is None:
        return str(arguments.body)
    if arguments.file == "-":
        return sys.stdin.buffer.read(4 * BODY_LENGTH).decode("utf-8", "replace")
    try:
        with Path(arguments.file).open("rb") as file:
            return file.read(4 * BODY_LENGTH).decode("utf-8", "replace")
    except OSError as error:
        raise DrcmError(f"{arguments.file}: {error.strerror}", "", EXIT_NO_INPUT) from error


def _require_recipients(config: Alerts, here: Paths) -> None:
    if not (config.email or config.sms):
        raise DrcmError(
            f"{here.config}: [CM_ALERTS] names nobody to tell",
            "Add a line such as: email = root",
            EXIT_CONFIG,
        )
