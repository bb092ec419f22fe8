"""Texts kept for good, each under the SHA-256 of its bytes: what a lift was voted on, for whoever reviews it later."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from orchestrator.errors import EnvironmentMissing


class TextArchive:
    """One file per text, readable by its owner only; written whole and synced before its name is given out."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, text: str) -> str:
        """The name under which it is kept, from the state directory; the same text has the same name.

        Raises EnvironmentMissing when it cannot be written.
        """
        content = text.encode()
        name = f"{hashlib.sha256(content).hexdigest()}.txt"
        path = self._directory / name
        reference = f"{self._directory.name}/{name}"
        with contextlib.suppress(OSError):
            if path.read_bytes() == content:
                return reference
        temporary = self._directory / f".{name}.{os.getpid()}"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        except OSError as failure:
            raise EnvironmentMissing(
                f"{path} cannot be written: {failure.strerror}", advice="make room in the state directory"
            ) from failure
        return reference
