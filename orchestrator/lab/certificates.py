"""The certificate authority of a rehearsal hospital: made at its first `up`, gone with it, trusted by nobody else.

Whoever answers by TLS gets a certificate for the name that the inventory declares. The probing host is told whom to trust
at run time: the authority's certificate lies in the orchestrator's state directory, and nowhere in the repository.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from orchestrator.lab.layout import Layout

_DAYS = 90
_AUTHORITY = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Rehearsal hospital")])


def certificate(layout: Layout, names: Sequence[str]) -> str:
    """Certificate for all of the names, and its private key (PEM), by the hospital's authority."""
    authority, key = _authority(layout), ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    signed = _builder(subject, key).add_extension(alternative, critical=False).sign(authority, hashes.SHA256())
    return (signed.public_bytes(Encoding.PEM) + _private(key)).decode("ascii")


def _authority(layout: Layout) -> ec.EllipticCurvePrivateKey:
    """The authority's key; with it, at the first call, the certificate that probes trust."""
    if layout.authority_key.exists():
        known = load_pem_private_key(layout.authority_key.read_bytes(), password=None)
        if isinstance(known, ec.EllipticCurvePrivateKey):
            return known
    key = ec.generate_private_key(ec.SECP256R1())
    own = _builder(_AUTHORITY, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    layout.authority.write_bytes(own.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    write_private(layout.authority_key, _private(key).decode("ascii"))
    return key


def write_private(path: Path, text: str) -> None:
    """Readable by its owner from the first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(text)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder().subject_name(subject).issuer_name(_AUTHORITY).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_DAYS))
    )  # fmt: skip
