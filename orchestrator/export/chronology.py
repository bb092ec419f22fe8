"""The chronology as a CSV that Timesketch takes: `message`, `datetime`, `timestamp_desc`, then what else is known."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import TextIO

from orchestrator.domain.events import Event

COLUMNS = ("message", "datetime", "timestamp_desc", "seq", "type", "actor", "stage", "device", "hash")
# What a person reads first, in this order, where an event's body has it.
_TELLING = (
    "reason",
    "choice",
    "verdict",
    "outcome",
    "step",
    "result",
    "person",
    "note",
    "detail",
    "text",
    "waiver",
    "gate",
    "accepted_risk",
    "server",
    "instead_of",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_chronology(events: Iterable[Event], file: TextIO) -> Iterator[Event]:
    """Writes one row per event as they pass through; what is written is complete when the iterator is exhausted."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for event in events:
        writer.writerow(map(_safe, _row(event)))
        yield event


def message(event: Event) -> str:
    """One line for a person: what happened, to what, by whom, and why."""
    subject = " ".join(filter(None, (event.type.value, event.stage, event.device)))
    said = "; ".join(f"{key}: {event.body[key]}" for key in _TELLING if isinstance(event.body.get(key), (str, int)))
    did, found = event.body.get("did"), event.body.get("found")  # of a recovery or a repair, and of drift
    listed = [str(text) for text in did] if isinstance(did, list) else []
    listed += [str(item["text"]) for item in found if isinstance(item, dict) and "text" in item] if isinstance(found, list) else []
    said = "; ".join(filter(None, (said, *listed)))
    marks = [mark for mark in ("rehearsal", "late") if event.body.get(mark) is True]
    text = f"{subject} by {event.actor}" + (f" ({said})" if said else "") + "".join(f" [{mark.upper()}]" for mark in marks)
    return " ".join(text.split())


def _row(event: Event) -> tuple[str, ...]:
    described = "Event, spooled and merged late" if event.body.get("late") is True else "Event"
    when = event.at.replace("Z", "+00:00")
    return (
        message(event),
        when,
        described,
        str(event.seq),
        event.type.value,
        event.actor,
        event.stage or "",
        event.device or "",
        event.hash,
    )


def _safe(value: str) -> str:
    """A spreadsheet runs a cell that begins like a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value
