"""Certificates of an authority that every node derives from the auth key (HISTORIES W6).

`python -m drcm.cluster.transport.certificates` reads keys from standard input and writes PEM: the daemon
makes its certificates in such a child, because cryptography.x509 would stay in its locked memory (5 MB)
for one use. The authority's Ed25519 key, and so its certificate, is the same on each node; each process
has a leaf of its own. Names and dates mean nothing: all run from 1970 to 9999, because a machine may
boot in either.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drcm.cluster.transport.keys import KEY_BYTES, Key, Keys
from drcm.errors import DrcmError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # RFC 5280 4.1.2.5: no well-defined end
CA_SERIAL = 1
CA_NAME = "drcm cluster"
CHILD_SECONDS = 60.0  # it takes 0.2 on an idle machine


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM texts: an authority for each key that lives, and this process's leaf with its private key."""

    authorities: str
    leaf: str


def make(keys: Keys) -> Certificates:
    """Make them here. Imports cryptography.x509."""
    return Certificates("".join(_pem(_authority(key)) for key in keys.all), _leaf(keys.current))


def make_in_child(keys: Keys) -> Certificates:
    """Have a child make them: the keys go through its standard input. DrcmError where it fails."""
    command = [sys.executable, "-m", "drcm.cluster.transport.certificates"]
    material = b"".join(key.material for key in keys.all)
    try:
        done = subprocess.run(
            command, input=material, capture_output=True, timeout=CHILD_SECONDS, check=True, cwd="/"
        )
        return Certificates(**json.loads(done.stdout))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or b""
        raise DrcmError(
            f"the TLS certificates could not be made: {error} {said.decode(errors='replace')}".strip(),
            "Try it by hand: drcm-server --client --command=cm_stat makes such certificates too.",
        ) from error


def _leaf(key: Key) -> str:
    from cryptography.hazmat.primitives import serialization as form

    private = _new_private_key()
    leaf = _certificate(key, "drcm node", private.public_key(), int.from_bytes(os.urandom(16), "big") >> 1)
    secret = private.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    return _pem(leaf) + secret.decode()


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


def main() -> int:
    material = sys.stdin.buffer.read()
    keys = [Key(material[start : start + KEY_BYTES]) for start in range(0, len(material), KEY_BYTES)]
    json.dump(asdict(make(Keys(*keys))), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
