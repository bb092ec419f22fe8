"""The site's own signing key: Ed25519, made on first start, readable by its owner only, never exported."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from orchestrator.errors import EnvironmentMissing, InputError


@dataclass(frozen=True)
class SiteKey:
    """`private` signs; `public_line` is what others are given: `ssh-ed25519 AAAA…`, without a comment."""

    private: Ed25519PrivateKey
    public_line: str


def load_or_create_site_key(path: Path) -> SiteKey:
    """The key in `path` (OpenSSH private key file); makes it (0600) and `path.pub` when there is none yet.

    Raises EnvironmentMissing when the file is open to others or cannot be written, InputError when it is not a key.
    """
    try:
        if not path.exists():
            _create(path)
        if path.stat().st_mode & 0o077:
            raise EnvironmentMissing(f"others can read the site key {path}", advice=f"chmod 600 {path}, and think about who has read it")
        data = path.read_bytes()
    except OSError as error:
        raise EnvironmentMissing(f"the site key {path} cannot be used: {error}", advice="give --state a directory of your own") from error
    try:
        key = load_ssh_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} is not an unencrypted OpenSSH private key: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path} is not an Ed25519 key")
    return SiteKey(key, public_line(key))


def public_line(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")


def _create(path: Path) -> None:
    """Writes both files whole or not at all; of two processes that start at once, the first one's key stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = Ed25519PrivateKey.generate()
    prepared = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(prepared, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(prepared, path)  # unlike a rename, it does not replace
        except FileExistsError:
            return
        path.with_name(path.name + ".pub").write_text(public_line(key) + "\n", encoding="ascii")
    finally:
        prepared.unlink()
