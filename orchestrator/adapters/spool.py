"""Where the emergency command leaves its events when the log cannot be written; merged into it later, marked as late.

A file allocated beforehand, so that a full disk still has room for it: a header line, then one line per event, each
sealed onto the one before (the same form and hash as in the log), then NUL bytes up to the allocated size. Every
append is synced. A torn last line (a crash in the middle of a write) is overwritten; a damaged line is never.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.domain.canonical import canonical, digest
from orchestrator.domain.events import Event, EventType, NewEvent, event_hash, exported, from_exported, seal
from orchestrator.domain.merkle import leaf_hash
from orchestrator.errors import LogUnavailable, Stale

if TYPE_CHECKING:
    from orchestrator.ports import Log

ALLOCATED_BYTES = 1 << 20
_ATTEMPTS = 5  # to merge between the appends of others


@dataclass(frozen=True)
class _Content:
    """What a spool file holds. `end` is where the next line goes, `padding` how much of a torn line lies behind it."""

    id: str
    events: tuple[Event, ...]
    damaged: int
    tip: str
    end: int
    padding: int


class Spool:
    """`fallbacks` are tried when the file itself cannot be written (a read-only disk), and are merged as well."""

    def __init__(self, path: Path, *fallbacks: Path, allocated: int = ALLOCATED_BYTES) -> None:
        self._paths = (path, *fallbacks)
        self._allocated = allocated

    def allocate(self) -> None:
        """Makes the file (0600) in peacetime, when there is room. Does nothing if it exists. Raises LogUnavailable."""
        with _as_unavailable(self._paths[0]), _locked(self._paths[0], self._allocated):
            pass

    def append(self, events: Sequence[NewEvent]) -> None:
        """Writes and syncs all events. Raises LogUnavailable when none of the places can be written."""
        for number, path in enumerate(self._paths, start=1):
            try:
                with _as_unavailable(path), _locked(path, self._allocated) as descriptor:
                    _write(descriptor, events)
                return
            except LogUnavailable:
                if number == len(self._paths):
                    raise

    def holds_something(self) -> bool:
        """Whether anything waits to be merged: a quick look, without a lock. What this account may not read does not count."""
        for path in self._paths:
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except (FileNotFoundError, PermissionError):
                continue
            except OSError:
                return True  # it is there and cannot be read: merging will say why
            try:
                content = _read(descriptor)
            finally:
                os.close(descriptor)
            if content.events or content.damaged:
                return True
        return False

    def merge_into(self, log: Log, *, at: str | None = None) -> int:
        """Appends what is spooled to the log, in its own order, behind one SpoolMerged event; returns how many events.

        Each keeps its type, time and actor, and its body gains `late: true`, `spooled_at` (its time) and `spool` (id,
        number and hash in the spool). Idempotent: what the log already holds is not appended again, whether merged
        before or written by an append whose answer came too late. The spool is emptied once the log holds it all.
        Raises LogUnavailable (nothing is lost then); Stale when others append all the time.
        """
        at = at or datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return sum(self._merge(path, log, at) for path in self._paths if path.exists())

    def _merge(self, path: Path, log: Log, at: str) -> int:
        with _as_unavailable(path), _locked(path, self._allocated) as descriptor:
            content = _read(descriptor)
            if not content.events and not content.damaged:
                return 0
            added = _append_late(log, content, at)
            self._renew(path, content)
            return added

    def _renew(self, path: Path, content: _Content) -> None:
        """A new, empty spool in place of this one, under its lock; a damaged one is kept beside it.

        Without room for it, the old one stays: merging it again adds nothing.
        """
        prepared = path.with_name(f".{path.name}.new")
        with contextlib.suppress(OSError):
            prepared.unlink(missing_ok=True)
            _create(prepared, self._allocated)
            if content.damaged:
                os.link(path, path.with_name(f"{path.name}.{content.id}.damaged"))
            prepared.replace(path)


def _append_late(log: Log, content: _Content, at: str) -> int:
    """Appends what the log does not hold yet; returns how many events. Raises LogError, Stale."""
    for attempt in range(_ATTEMPTS):
        size, announced, known = _already(log, content.id)
        fresh = [event for event in content.events if event.seq not in known and _identity(event) not in known]
        if not fresh and (announced or not content.damaged):
            return 0
        try:
            log.append([_announce(content, fresh, at), *(_late(event, content.id) for event in fresh)], expected=size)
        except Stale:  # somebody appended while we were reading
            if attempt == _ATTEMPTS - 1:
                raise
            continue
        break
    return len(fresh)


def _already(log: Log, spool: str) -> tuple[int, bool, set[int | str]]:
    """The log's size, whether it announces this spool, and what it holds of it: numbers merged, identities of the others."""
    size, announced, known = 0, False, set[int | str]()
    for event in log.read():
        size += 1
        mark = event.body.get("spool")
        if not isinstance(mark, dict):
            known.add(_identity(event))
        elif mark.get("id") == spool:
            announced = announced or event.type is EventType.SPOOL_MERGED
            if "n" in mark:
                known.add(mark["n"])
    return size, announced, known


def _announce(content: _Content, fresh: Sequence[Event], at: str) -> NewEvent:
    body: dict[str, Any] = {
        "late": True,
        "spool": {"id": content.id},
        "count": len(fresh),
        "damaged_lines": content.damaged,
        "first_at": fresh[0].at if fresh else None,
        "last_at": fresh[-1].at if fresh else None,
    }
    if any(event.body.get("rehearsal") is True for event in fresh):
        body["rehearsal"] = True
    return NewEvent(EventType.SPOOL_MERGED, at, "orchestrator", body)


def _late(event: Event, spool: str) -> NewEvent:
    mark = {"late": True, "spooled_at": event.at, "spool": {"id": spool, "n": event.seq, "hash": event.hash}}
    return NewEvent(event.type, event.at, event.actor, {**event.body, **mark}, event.stage, event.device)


def _identity(event: Event) -> str:
    """The same for the same event written twice: in the log and, when its answer came too late, in the spool."""
    return digest([event.type.value, event.at, event.actor, event.stage, event.device, event.body])


# The file


@contextlib.contextmanager
def _as_unavailable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LogUnavailable(f"the spool {path} cannot be used: {error}", advice="write the verdict down by hand") from error


@contextlib.contextmanager
def _locked(path: Path, allocated: int) -> Iterator[int]:
    """The file, open and locked against other processes; made if it is not there. Raises OSError."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            prepared = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
            _create(prepared, allocated)
            try:  # unlike a rename, a link does not replace what another process has made meanwhile
                with contextlib.suppress(FileExistsError):
                    os.link(prepared, path)
            finally:
                prepared.unlink()
            continue
        try:
            if os.fstat(descriptor).st_uid != os.geteuid():
                raise PermissionError(f"{path} belongs to someone else")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                current = path.stat().st_ino == os.fstat(descriptor).st_ino  # not renewed while we waited
            except FileNotFoundError:
                current = False
            if current:
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _create(path: Path, allocated: int) -> None:
    """A new spool, its blocks written and not only reserved: some file systems reserve loosely. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        header = canonical({"spool": 1, "id": secrets.token_hex(16)}) + b"\n"
        with contextlib.suppress(OSError):  # a disk that is full already: what fits, fits
            os.posix_fallocate(descriptor, 0, allocated)
            _write_all(descriptor, b"\0" * allocated, 0)
        _write_all(descriptor, header, 0)
        os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, at)
        data, at = data[written:], at + written


def _write(descriptor: int, events: Sequence[NewEvent]) -> None:
    content = _read(descriptor)
    lines, tip = list[bytes](), content.tip
    number = max((event.seq for event in content.events), default=-1) + 1
    for offset, new in enumerate(events):
        event = seal(new, number + offset, tip)
        lines.append(canonical(exported(event)) + b"\n")
        tip = event.hash
    data = b"".join(lines)
    _write_all(descriptor, data + b"\0" * max(0, content.padding - len(data)), content.end)
    os.fsync(descriptor)


def _read(descriptor: int) -> _Content:
    pieces: list[bytes] = []
    at = 0
    while (piece := os.pread(descriptor, 1 << 16, at)) and b"\0" not in piece:
        pieces.append(piece)
        at += len(piece)
    data = b"".join(pieces) + piece.partition(b"\0")[0]
    header, _newline, rest = data.partition(b"\n")
    events: list[Event] = []
    damaged = 0
    *lines, torn = rest.split(b"\n")
    tip, follows = leaf_hash(header).hex(), True
    for line in lines:
        event = _event(line)
        if event is None:
            damaged, follows = damaged + 1, False
            continue
        if follows and event.previous != tip:  # a line was taken out
            damaged += 1
        events.append(event)
        tip, follows = event.hash, True
    # A line without its end is the last write of a process that died; nothing in it was acknowledged.
    return _Content(_id(header), tuple(events), damaged, tip, len(data) - len(torn), len(torn))


def _id(header: bytes) -> str:
    try:
        return str(json.loads(header)["id"])
    except (ValueError, KeyError, TypeError):
        return hashlib.sha256(header).hexdigest()[:32]


def _event(line: bytes) -> Event | None:
    """The event of a line, if the line is intact."""
    try:
        event = from_exported(line.decode("utf-8"))
        return event if event_hash(event) == event.hash and canonical(exported(event)) == line else None
    except ValueError:
        return None
