"""This host's daemon as a service: its configuration, its priority, its log, its loop."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from drcm import logs
from drcm.cluster.daemon import Daemon
from drcm.cluster.realtime import lock_memory, raise_priority, raise_thread, raise_threads
from drcm.cluster.transport.keys import Keys
from drcm.cluster.transport.keys import load as load_keys
from drcm.config.load import require_config
from drcm.config.model import Cluster, Node
from drcm.config.thisnode import this_node
from drcm.paths import Paths, paths

if TYPE_CHECKING:
    from drcm.cluster.command import Options

log = logging.getLogger(__name__)


def run(options: Options) -> int:
    """Run this host's daemon in the foreground until it has left; the exit code."""
    here = replace(paths(), config=options.config)
    cluster = require_config(options.config, host_checks=False)
    cluster = replace(cluster, server=options.applied_to(cluster.server))
    me, keys = this_node(cluster, socket.gethostname()), load_keys(here.auth)
    stop_logging = logs.setup(cluster.server)
    try:
        here.run.mkdir(mode=0o755, parents=True, exist_ok=True)
        here.sets.mkdir(mode=0o700, parents=True, exist_ok=True)
        for refusal in (raise_priority(), lock_memory()):
            if refusal:
                log.warning("%s", refusal)
        raise_threads()
        if sys.version_info < (3, 12):  # its default starts a thread for each child
            asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
        return asyncio.run(_run(cluster, me, keys, here))
    finally:
        stop_logging()


async def _run(cluster: Cluster, me: Node, keys: Keys, here: Paths) -> int:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(initializer=raise_thread))
    return await Daemon(cluster, me, keys, here).run()
