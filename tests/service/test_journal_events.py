"""Events by type, stage, device and actor: the same as by reading the whole log, and only a little of it is read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product

from orchestrator.adapters.memory_log import MemoryLog
from orchestrator.domain.event_filter import EventFilter
from orchestrator.domain.events import Event, NewEvent
from orchestrator.domain.events import EventType as E
from orchestrator.service.journal import Journal
from tests.service.reopening import ManualClock

AT = "2026-06-24T08:00:00.000Z"


class CountingLog(MemoryLog):
    """Counts the events that somebody was given."""

    given = 0

    def read(self, start: int = 0) -> Iterator[Event]:
        for event in super().read(start):
            self.given += 1
            yield event


def log_of(size: int) -> CountingLog:
    """Every fifth event is an entry, of two people, about one of three stages; the others are checks."""
    log = CountingLog()
    log.append([made(number) for number in range(size)])
    return log


def made(number: int) -> NewEvent:
    if number % 5:
        return NewEvent(E.CHECK_RAN, AT, "orchestrator", {"when": "on demand", "results": []}, None)
    return NewEvent(E.LOGBOOK_ENTERED, AT, ("rssi", "commander")[number % 2], {"text": str(number)}, f"P{number % 3}")


def test_what_is_found_is_what_the_whole_log_holds() -> None:
    log = log_of(200)
    journal = Journal(log, ManualClock())
    types = (frozenset[E](), frozenset({E.LOGBOOK_ENTERED}), frozenset({E.LOGBOOK_ENTERED, E.CHECK_RAN}), frozenset({E.VOTE_CAST}))
    for kinds, stage, actor, after in product(types, (None, "P1", "P9"), (None, "rssi", "nobody"), (-1, 0, 57, 199, 500)):
        wanted = EventFilter(kinds, stage, actor=actor)
        expected = [event for event in log.read() if event.seq > after and wanted.fits(event)]
        assert list(journal.events(wanted, after)) == expected, (wanted, after)


def test_what_was_written_since_is_found() -> None:
    log = log_of(10)
    journal = Journal(log, ManualClock())
    wanted = EventFilter(frozenset({E.LOGBOOK_ENTERED}))
    assert [event.seq for event in journal.events(wanted)] == [0, 5]
    log.append([made(10)])
    assert [event.seq for event in journal.events(wanted, 5)] == [10]


def test_a_page_of_a_long_log_costs_what_a_page_of_a_short_one_costs() -> None:
    cost = {}
    for size in (500, 5000):
        log = log_of(size)
        log.append([NewEvent(E.LOGBOOK_ENTERED, AT, "director-duty", {"text": "the last"}, "P1")])
        journal = Journal(log, ManualClock())
        journal.state()
        before = log.given
        page = list(islice(journal.events(EventFilter(frozenset({E.LOGBOOK_ENTERED}), actor="rssi"), 300), 10))
        rare = list(journal.events(EventFilter(actor="director-duty")))
        assert (len(page), [event.seq for event in rare]) == (10, [size])
        cost[size] = log.given - before
    assert cost[500] == cost[5000] < 150
