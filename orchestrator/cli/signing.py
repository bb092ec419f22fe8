"""Signing with stock `ssh-keygen`: file keys, agent keys and security keys alike, in the person's own terminal."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from orchestrator.errors import EnvironmentMissing, UsageError


def sign(key: Path, namespace: str, text: str) -> str:
    """The armoured signature of the text. Raises UsageError when ssh-keygen will not."""
    if shutil.which("ssh-keygen") is None:
        raise EnvironmentMissing("ssh-keygen is not here", advice="apt install openssh-client")
    if not key.is_file():
        raise UsageError(f"there is no key {key}", advice="--key FILE names your private key, or the public one of a key in your agent")
    command = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(key), "-n", namespace]
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    if done.returncode:
        raise UsageError(f"ssh-keygen does not sign with {key}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode("ascii")
