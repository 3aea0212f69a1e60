"""TLS 1.3 with a certificate authority that every node derives from the auth key (HISTORIES W6).

So nothing more than the key has to be copied. The CA's Ed25519 key, and so its certificate, is the same
on each node; each process makes itself a leaf. Names and dates mean nothing: both run from 1970 to 9999,
because a machine may boot in either. cryptography.x509 is imported late: it takes 50 ms.
"""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drcm.cluster.transport.keys import Key, Keys

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # RFC 5280 4.1.2.5: no well-defined end
CA_SERIAL = 1
CA_NAME = "drcm cluster"


def server_context(keys: Keys) -> ssl.SSLContext:
    """For the daemon: clients must show a leaf of one of `keys`."""
    return _context(ssl.PROTOCOL_TLS_SERVER, keys)


def client_context(keys: Keys) -> ssl.SSLContext:
    """For who asks: the daemon must show a leaf of one of `keys`; its name is not looked at."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, keys)


def _context(protocol: int, keys: Keys) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # every question is a connection of its own: nothing is resumed
    for key in keys.all:
        context.load_verify_locations(cadata=_pem(_authority(key)))
    _load_leaf(context, keys.current)
    return context


def _load_leaf(context: ssl.SSLContext, key: Key) -> None:
    """Give `context` a fresh leaf, by way of memory: OpenSSL wants a file's name, and no disk may hold it."""
    from cryptography.hazmat.primitives import serialization as form

    private = _new_private_key()
    leaf = _certificate(key, "drcm node", private.public_key(), int.from_bytes(os.urandom(16), "big") >> 1)
    secret = private.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    descriptor = os.memfd_create("drcm leaf", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_pem(leaf).encode() + secret)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")


def _new_private_key() -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


def _authority_key(key: Key) -> Ed25519PrivateKey:
    """Ed25519, because its keys are any 32 bytes: RSA or ECDSA would depend on the library (W6)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(key.derive(b"ca", length=32))


def _authority(key: Key) -> x509.Certificate:
    return _certificate(key, _authority_name(key), _authority_key(key).public_key(), CA_SERIAL)


def _authority_name(key: Key) -> str:
    return f"{CA_NAME} {key.id.hex()}"  # two live keys must not look like one authority


def _certificate(key: Key, name: str, public: Ed25519PublicKey, serial: int) -> x509.Certificate:
    """A certificate for `public`, signed by the authority of `key`; the authority's own where it says so."""
    from cryptography import x509

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    is_authority = name == _authority_name(key)
    constraints = x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None)
    builder = x509.CertificateBuilder(
        issuer_name=named(_authority_name(key)),
        subject_name=named(name),
        public_key=public,
        serial_number=serial,
        not_valid_before=BEGIN,
        not_valid_after=END,
    )
    return builder.add_extension(constraints, critical=True).sign(_authority_key(key), None)


def _pem(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()
