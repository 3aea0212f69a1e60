"""TLS 1.3 on both ends with certificates that come of the auth key alone: nothing more has to be copied."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable

from drcm.cluster.transport import certificates
from drcm.cluster.transport.certificates import Certificates
from drcm.cluster.transport.keys import Keys

Make = Callable[[Keys], Certificates]


def server_context(keys: Keys, make: Make = certificates.make) -> ssl.SSLContext:
    """For the daemon: clients must show a leaf of one of `keys`. Some 0.2 s."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, make(keys))
    context.num_tickets = 0  # every question is a connection of its own: nothing is resumed
    return context


def client_context(keys: Keys, make: Make = certificates.make) -> ssl.SSLContext:
    """For who asks: the daemon must show a leaf of one of `keys`; its name is not looked at."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, make(keys))


def _context(protocol: int, made: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=made.authorities)
    _load_leaf(context, made.leaf)
    return context


def _load_leaf(context: ssl.SSLContext, leaf: str) -> None:
    """By way of memory: OpenSSL wants a file's name, and no disk may hold it."""
    descriptor = os.memfd_create("drcm leaf", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(leaf.encode())
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
