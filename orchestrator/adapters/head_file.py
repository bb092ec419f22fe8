"""The log's head, kept in a file outside of its database: what was acknowledged once is missed when it is gone.

A new head is written and synced beside the old one before the commit (a full disk is found out then), and renamed into place
after it. A crash in between leaves an older head, which is still true of the log; the next append brings it up to date.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.domain.events import Head
from orchestrator.errors import LogBroken

BROKEN_ADVICE = "nothing is written to a broken log; read it with `orchestrator audit log`, and compare it with an export"


class HeadFile:
    """`lock` is a file that orders the writers of this machine, so that heads are written in the order of the commits."""

    def __init__(self, path: Path, lock: Path, *, busy_timeout_s: float) -> None:
        self.path, self._lock, self._busy_timeout_s = path, lock, busy_timeout_s

    def read(self) -> Head | None:
        """None when there is no such file. Raises LogBroken for one that holds no head, OSError."""
        try:
            text = self.path.read_text(encoding="ascii")
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise LogBroken(f"{self.path} is not a head: {error}", advice=BROKEN_ADVICE) from error
        size, separator, root = text.strip().partition(":")
        if not (separator and size.isdigit() and len(root) == 64):
            raise LogBroken(f"{self.path} is not a head (SIZE:ROOT)", advice=BROKEN_ADVICE)
        return Head(int(size), root)

    def prepare(self, head: Head) -> Path:
        """Writes and syncs it beside the old one. Raises OSError."""
        prepared = self.path.with_name(self.path.name + ".new")
        descriptor = os.open(prepared, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, f"{head.size}:{head.root}\n".encode("ascii"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return prepared

    def publish(self, prepared: Path) -> None:
        """Puts what was prepared into place. What fails is not said: the events are durable, and an older head is still true."""
        with contextlib.suppress(OSError):
            prepared.replace(self.path)
            fsync_directory(self.path.parent)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One writer at a time, over all processes; freed by the kernel when its holder dies. Raises BlockingIOError, OSError."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            give_up = time.monotonic() + self._busy_timeout_s
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= give_up:
                        raise
                    time.sleep(0.002)
            yield
        finally:
            os.close(descriptor)


def fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
