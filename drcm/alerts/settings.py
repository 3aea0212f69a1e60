"""What drcm-alert goes by: [CM_ALERTS], and who this is.

The last good settings are kept in the state folder: a cm.cfg that somebody is just breaking must not mute the
alert about what he broke.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drcm import state as files
from drcm.alerts.message import Origin
from drcm.config.model import Alerts, Cluster
from drcm.errors import ConfigError, DrcmError
from drcm.paths import Paths

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """[CM_ALERTS], and the names that a message carries."""

    alerts: Alerts
    origin: Origin


def current(here: Paths) -> Settings:
    """The settings of cm.cfg, else the last good ones with a word on standard error, else ConfigError."""
    from drcm.config.load import require_config

    try:
        return _of(require_config(here.config, host_checks=False))
    except ConfigError as error:
        kept = _recall(_file(here))
        if kept is None:
            raise
        print(f"drcm-alert: {error.what.splitlines()[0]}\n  Going by the last good one.", file=sys.stderr)
        return kept


def remember(here: Paths, settings: Settings) -> None:
    """Keep `settings` for `current`, where they changed. A disk that takes nothing is no obstacle."""
    if _recall(_file(here)) == settings:
        return
    try:
        files.write_json(_file(here), {"schema": 1, **asdict(settings)})
    except OSError as error:
        log.warning("%s: %s", _file(here), error)


def _of(cluster: Cluster) -> Settings:
    from drcm.alerts.channels import hostname

    names = (node.name for node in cluster.nodes if node.hostname == hostname())
    return Settings(cluster.alerts, Origin(cluster.replication.cluster_name, next(names, hostname())))


def _file(here: Paths) -> Path:
    return here.state / "alerts-settings.json"


def _recall(path: Path) -> Settings | None:
    try:
        value = files.read_json(path)
        return None if value is None else _from_json(value)
    except (DrcmError, KeyError, TypeError):
        return None


def _from_json(value: dict[str, Any]) -> Settings:
    alerts: dict[str, Any] = {
        name: tuple(item) if isinstance(item, list) else item for name, item in value["alerts"].items()
    }
    return Settings(Alerts(**alerts), Origin(**value["origin"]))
