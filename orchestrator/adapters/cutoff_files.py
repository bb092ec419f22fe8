"""What a cut-off keeps in files: the epoch, its progress, the sessions it found, the baseline of the probes.

Standard library only: the emergency command uses it before the layer lies. Every file is replaced whole (temporary
file, rename), so that a reader never meets half of one.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EPOCH, BASELINE, SESSIONS = "epoch", "baseline.json", "sessions"


class CutoffFiles:
    """In `root`, or in `elsewhere` when `root` cannot be written. Methods raise OSError when neither can."""

    def __init__(self, root: Path, elsewhere: Path | None = None) -> None:
        self._root = root
        self._places = (root,) if elsewhere is None else (root, elsewhere)

    def raise_epoch(self, at_least: int) -> int:
        """The larger of `at_least` and one more than the last one known. Not kept when nothing can be written."""
        known = [0]
        for place in self._places:
            with contextlib.suppress(OSError, ValueError):
                known.append(int((place / EPOCH).read_text(encoding="ascii")))
            with contextlib.suppress(OSError):
                known += [_epoch_of(path) for path in place.glob("cutoff-*.json")]
        epoch = max(at_least, max(known) + 1)
        with contextlib.suppress(OSError):
            self._write(EPOCH, f"{epoch}\n")
        return epoch

    def save_progress(self, epoch: int, progress: Mapping[str, Any]) -> None:
        self._write(f"cutoff-{epoch}.json", json.dumps({"pid": os.getpid(), **progress}, ensure_ascii=False))

    def last_progress(self) -> dict[str, Any] | None:
        """The progress of the newest cut-off, running or finished; None when there was none. Raises ValueError."""
        found: list[tuple[int, Path]] = []
        for place in self._places:
            with contextlib.suppress(OSError):
                found += [(_epoch_of(path), path) for path in place.glob("cutoff-*.json")]
        if not found:
            return None
        progress: dict[str, Any] = json.loads(max(found)[1].read_text(encoding="utf-8"))
        return progress

    def save_sessions(self, epoch: int, device: str, listing: str) -> str:
        """Evidence: synced before the sessions are killed."""
        return str(self._write(f"{SESSIONS}/{epoch}-{device}.txt", listing, durable=True))

    def save_baseline(self, baseline: Mapping[str, Any]) -> Path:
        return self._write(BASELINE, json.dumps(baseline, ensure_ascii=False, indent=1), durable=True)

    def baseline(self) -> Mapping[str, Any] | None:
        try:
            value = json.loads((self._root / BASELINE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if not isinstance(value, dict) or not isinstance(value.get("passed"), dict) or "saved_at" not in value:
            raise ValueError("it is no baseline")
        return value

    def _write(self, name: str, text: str, *, durable: bool = False) -> Path:
        for place in self._places:
            try:
                return _replace(place / name, text, durable)
            except OSError:
                if place == self._places[-1]:
                    raise
        raise AssertionError("there is at least one place")


def _epoch_of(path: Path) -> int:
    number = path.stem.removeprefix("cutoff-")
    return int(number) if number.isdigit() else 0


def _replace(path: Path, text: str, durable: bool) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    prepared = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    descriptor = os.open(prepared, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        prepared.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            prepared.unlink()
        raise
    return path
