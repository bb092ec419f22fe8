"""The growing end of the log: what must be remembered to append to it and to check that it still hangs together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.domain.events import GENESIS, Event, Head, NewEvent, event_hash, seal
from orchestrator.domain.merkle import CompactRange
from orchestrator.errors import LogBroken


@dataclass(frozen=True)
class Chain:
    """The compact Merkle range of the events so far, and the hash of the last one. Immutable: following returns a new one."""

    range: CompactRange = field(default_factory=CompactRange)
    tip: str = GENESIS

    @property
    def size(self) -> int:
        return self.range.size

    def head(self) -> Head:
        return Head(self.range.size, self.range.root().hex())

    def seal(self, news: Sequence[NewEvent]) -> tuple[Chain, list[Event]]:
        """The events as they follow this chain, and the chain after them. Raises InputError (see `events.seal`)."""
        sealed: list[Event] = []
        tip = self.tip
        for number, new in enumerate(news):
            sealed.append(seal(new, self.size + number, tip))
            tip = sealed[-1].hash
        return self.link([event.hash for event in sealed]), sealed

    def link(self, digests: Sequence[str]) -> Chain:
        """The chain with more events, whose hashes have been checked by the caller."""
        if not digests:
            return self
        return Chain(self.range.extend(map(bytes.fromhex, digests)), digests[-1])

    def follow(self, event: Event) -> Chain:
        """The chain with one more event, checked. Raises LogBroken naming the event that does not follow."""
        check_next(self.size, self.tip, event.seq, event.previous, event.hash, event_hash(event))
        return self.link((event.hash,))


def check_next(size: int, tip: str, seq: int, previous: str, stored: str, recomputed: str) -> None:
    """Whether an event with these fields comes after `size` events that end in `tip`. Raises LogBroken."""
    if stored != recomputed:
        raise LogBroken(f"event {size} was changed: its content does not give its hash", seq=size)
    if seq != size:
        raise LogBroken(f"event {size} is missing: event {seq} stands in its place", seq=size)
    if previous != tip:
        raise LogBroken(f"event {seq} does not follow the event before it: one of the two was changed", seq=seq)
