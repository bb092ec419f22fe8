"""The cut pack on disk: replaced whole, the one before kept, both synced before anybody is told that it is there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import EnvironmentMissing


def keep_pack(current: Path, previous: Path, envelope: Mapping[str, Any]) -> None:
    """Writes `current`; what was there becomes `previous`. At no moment is `current` missing or half-written.

    Raises EnvironmentMissing when the directory cannot be written.
    """
    try:
        current.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if current.exists():
            _replace(previous, current.read_bytes())
        _replace(current, json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))
    except OSError as error:
        raise EnvironmentMissing(
            f"the cut pack {current} cannot be written: {error}", advice="orchestrator policy ratify --pack-only"
        ) from error


def _replace(path: Path, content: bytes) -> None:
    prepared = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with prepared.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        prepared.replace(path)
    finally:
        prepared.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
