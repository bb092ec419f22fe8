"""Events as rows of a database, and the check that rows hang together: the same for every durable log.

A row: seq, hash, previous, at, type, actor, stage, device, body. The body is the canonical JSON text that was hashed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.adapters.head_file import BROKEN_ADVICE, HeadFile
from orchestrator.domain.canonical import canonical
from orchestrator.domain.chain import Chain, check_next
from orchestrator.domain.events import Event, EventType, event_bytes_of
from orchestrator.domain.merkle import leaf_hash
from orchestrator.errors import LogBroken

COLUMNS = "seq, hash, previous, at, type, actor, stage, device, body"
PAGE = 500  # events fetched at a time: a reader never holds a transaction open while its caller works

Row = tuple[Any, ...]
Page = Callable[[int, int | None], Sequence[Row]]  # at most PAGE rows from this number on, before that one; in order


def row_of(event: Event) -> Row:
    body = canonical(event.body).decode("utf-8")
    return (event.seq, event.hash, event.previous, event.at, event.type.value, event.actor, event.stage, event.device, body)


def event_of(row: Row) -> Event:
    """Raises LogBroken for a row that is no event (only in a log that was opened although it is broken)."""
    seq, digest, previous, at, type_, actor, stage, device, body = row
    try:
        return Event(EventType(type_), at, actor, json.loads(body), stage, device, seq, previous, digest)
    except ValueError as error:
        raise LogBroken(f"event {seq} cannot be read: {error}", seq=seq) from error


def link(chain: Chain, rows: Sequence[Row]) -> tuple[Chain, LogBroken | None]:
    """The chain with these rows, each checked; as far as they hang together, and what is wrong with the first that does not."""
    tip, hashes = chain.tip, list[str]()
    for seq, stored, previous, at, type_, actor, stage, device, body in rows:
        size = chain.size + len(hashes)
        try:
            recomputed = leaf_hash(event_bytes_of(seq, previous, type_, at, actor, stage, device, body)).hex()
            check_next(size, tip, seq, previous, stored, recomputed)
        except (LogBroken, TypeError, ValueError) as error:  # the latter two: a column that no longer holds text
            broken = LogBroken(f"the log is broken: {error}", seq=size, advice=BROKEN_ADVICE)
            broken.__cause__ = error
            return chain.link(hashes), broken
        tip = stored
        hashes.append(stored)
    return chain.link(hashes), None


def follow(page: Page, chain: Chain, stop: int | None = None) -> tuple[Chain, LogBroken | None]:
    """The chain after every stored event beyond it (up to `stop`), each checked."""
    while stop is None or chain.size < stop:
        rows = page(chain.size, stop)
        if not rows:
            break
        chain, broken = link(chain, rows)
        if broken is not None:
            return chain, broken
    return chain, None


def verify(page: Page, head_file: HeadFile, *, missing_advice: str) -> tuple[Chain, LogBroken | None]:
    """The whole chain, and that the head kept outside is a prefix of it; as far as it goes, and what is wrong."""
    try:
        outside = head_file.read()  # before the database: the log can only have grown since
    except LogBroken as error:
        return Chain(), error
    chain = Chain()
    if outside is not None:
        chain, broken = follow(page, chain, outside.size)
        if broken is not None:
            return chain, broken
        if chain.size < outside.size:
            said = f"the log is truncated: it holds {chain.size} events, and {outside.size} were acknowledged"
            return chain, LogBroken(said, seq=chain.size, advice=BROKEN_ADVICE)
        if chain.head() != outside:
            said = f"the first {outside.size} events are not those whose head was kept in {head_file.path.name}"
            return chain, LogBroken(said, seq=outside.size - 1, advice=BROKEN_ADVICE)
    chain, broken = follow(page, chain)
    if broken is None and outside is None and chain.size:
        said = f"the head file {head_file.path} is missing: whether events were cut off cannot be known"
        broken = LogBroken(said, advice=missing_advice)
    return chain, broken
