"""Beats on the wire: sealed, sent to every peer; opened, put together, handed on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from drcm.cluster import actions as ac
from drcm.cluster.messages import Beat
from drcm.cluster.transport import beatcodec
from drcm.cluster.transport.assembler import Assembler
from drcm.cluster.transport.datagram import Opener, Sealer
from drcm.cluster.transport.endpoint import Endpoint, open_endpoint
from drcm.cluster.transport.keys import Keys
from drcm.cluster.transport.stream import Streams, receive
from drcm.config.model import Cluster, Node
from drcm.errors import DrcmError

SILENCE_SECONDS = 10.0  # and T_dead: a connection that says nothing for so long is of a node that died


class Wire:
    """This node's UDP port, and the streams from and to nodes that say `transport = tcp`.

    `heard(beat)` is called for each authentic, whole and newer beat, whichever way it came.
    """

    def __init__(self, cluster: Cluster, me: Node, keys: Keys, heard: Callable[[Beat], None]) -> None:
        self._me, self._keys, self._heard = me, keys, heard
        self._opener = Opener(keys.all, ())
        self._assembler = Assembler()
        self._sealer: Sealer | None = None
        self._boot = b""
        self._peers: dict[str, tuple[str, int]] = {}
        self._silence = SILENCE_SECONDS + cluster.server.dead_seconds
        self._streams = Streams(keys, cluster.server.dead_seconds)
        self._endpoint = self._open(cluster)
        self.reconfigure(cluster)

    def reconfigure(self, cluster: Cluster) -> None:
        """Speak with the nodes of `cluster` from now on."""
        others = [node for node in cluster.voters if node.name != self._me.name]
        self._peers = {node.name: (node.keep_alive_ip, cluster.server.udpport) for node in others}
        self._opener.set_members(self._peers)
        mine = cluster.node(self._me.name).transport
        over_tcp = [node for node in others if "tcp" in (mine, node.transport)]
        self._streams.reconfigure(
            {node.name: (node.keep_alive_ip, cluster.server.tcpport) for node in over_tcp}
        )

    def send(self, beat: Beat) -> None:
        """To every peer. A new boot id has a key of its own."""
        if self._sealer is None or beat.boot != self._boot:
            self._boot = beat.boot
            self._sealer = Sealer(self._keys.current, self._me.name, beat.boot)
        for body in beatcodec.encode(beat):
            datagram = self._sealer.seal(body)
            for name, address in self._peers.items():
                if name in self._streams:
                    self._streams.send(name, datagram)
                else:
                    self._endpoint.send(datagram, address)

    async def take(self, reader: asyncio.StreamReader) -> None:
        """Datagrams of a peer that dialled this node, until the connection ends."""
        await receive(reader, self._silence, self._take)

    def complaints(self) -> Iterator[ac.Problem]:
        """Members that somebody should look at: mute ones (HISTORIES W8), and ones with a bug."""
        ours = self._keys.current.id.hex()
        for name, key in self._opener.foreign_keys.items():
            text = f"{name} speaks with key {key.hex()}, expected {ours}: copy this node's authkey to it"
            yield ac.Problem(f"key-unknown:{name}", text)
        for name, count in self._assembler.malformed.items():
            text = f"{name} sends what is no heartbeat ({count} so far, dropped): are the versions equal?"
            yield ac.Problem(f"beats-malformed:{name}", text)

    def counters(self) -> dict[str, int]:
        """What came, went and was dropped, by reason."""
        rejected = {f"datagrams_{reason.value}": count for reason, count in self._opener.rejected.items()}
        return {
            **rejected,
            "datagrams_sent": self._endpoint.sent + self._streams.sent,
            "datagrams_unsent": self._endpoint.unsent + self._streams.unsent,
            "datagrams_received": self._endpoint.received,
            "beats_malformed": self._assembler.malformed.total(),
        }

    def close(self) -> None:
        self._endpoint.close()
        self._streams.close()
        self._opener.set_members(())

    def _open(self, cluster: Cluster) -> Endpoint:
        any_address = "::" if ":" in self._me.keep_alive_ip else "0.0.0.0"  # noqa: S104 - bind_to_keep_alive_ip = 0
        bind = self._me.keep_alive_ip if cluster.server.bind_to_keep_alive_ip else any_address
        try:
            return open_endpoint(bind, cluster.server.udpport, lambda datagram, _: self._take(datagram))
        except OSError as error:
            raise DrcmError(
                f"UDP port {cluster.server.udpport} on {bind}: {error.strerror}",
                "Is another drcm-server running here?",
            ) from error

    def _take(self, datagram: bytes) -> None:
        opened = self._opener.open(datagram)
        if opened is None:
            return
        beat = self._assembler.add(opened.sender, opened.boot, opened.body)
        if beat is not None:
            self._heard(beat)
