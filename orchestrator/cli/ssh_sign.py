"""Signing with stock `ssh-keygen`: a key in a file, in the agent or on a FIDO2 token; the private key never comes here."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from orchestrator.errors import EnvironmentMissing, InputError


def sign(key: Path, namespace: str, message: bytes) -> str:
    """The armoured SSHSIG. Raises InputError with ssh-keygen's own words, EnvironmentMissing without ssh-keygen."""
    if not key.exists():
        raise InputError(f"there is no key {key}", advice="--key FILE: your private key, or its .pub when the agent holds it")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "statement"
        file.write_bytes(message)
        try:
            done = subprocess.run(
                ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", namespace, str(file)],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise EnvironmentMissing("ssh-keygen is not installed", advice="install openssh-client") from error
        signature = file.with_suffix(".sig")
        if done.returncode or not signature.exists():
            raise InputError(f"ssh-keygen does not sign with {key}: {done.stderr.strip()}")
        return signature.read_text(encoding="ascii")
