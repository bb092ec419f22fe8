"""Requests with a key and commands about an object as it was seen: nothing is done twice, by any server of the log."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from orchestrator.domain.commands import EnterLogbook, RequestWaiver
from orchestrator.domain.events import EventType as E
from orchestrator.domain.objects import objects_of
from orchestrator.domain.state import SiteState
from orchestrator.errors import AlreadyDone, IllegalTransition, KeyUsed, Moved
from orchestrator.service.requests import MARK, Request, current, handling
from orchestrator.service.stages import Stages
from tests.service.reopening import Reopening, after_the_cut

STAGE = "P0-lifelines"


def entry(text: str = "we wait") -> EnterLogbook:
    return EnterLogbook("rssi", text, None)


def ask(stages: Stages, do: Callable[[], SiteState], key: str = "k1", content: str = "c1") -> SiteState:
    """As the API does: what is in the log already is repeated, the rest is done."""
    request = Request(key, content)
    request.repeated = stages.journal.done(request)
    with handling(request):
        return do()


def entries(reopening: Reopening) -> int:
    return sum(event.type is E.LOGBOOK_ENTERED for event in reopening.log.read())


def test_a_command_is_done_once_whichever_server_is_asked() -> None:
    reopening = after_the_cut()
    here, there = reopening.stages, reopening.server("there")
    first = ask(here, lambda: here.do(entry()))
    reopening.stages.do(entry("something else"))
    for stages in (here, there, reopening.server("after a restart")):
        again = ask(stages, lambda stages=stages: stages.do(entry()))  # type: ignore[misc]
        assert again.seq == first.seq, "the state is the one of then"
    assert entries(reopening) == 2


def test_the_mark_is_on_the_first_event_of_the_command_only() -> None:
    reopening = after_the_cut()
    reopening.stages.plan("eng-1", STAGE)
    reopening.clock.wait(60 * 24 * 3600)
    before = reopening.log.head().size
    ask(reopening.stages, lambda: reopening.stages.do(entry()))
    made = list(reopening.log.read(before))
    assert [(event.type, MARK in event.body) for event in made] == [(E.STAGE_EXPIRED, False), (E.LOGBOOK_ENTERED, True)]


def test_the_same_key_for_something_else_is_refused() -> None:
    reopening = after_the_cut()
    ask(reopening.stages, lambda: reopening.stages.do(entry()))
    with pytest.raises(KeyUsed):
        ask(reopening.stages, lambda: reopening.stages.do(entry("other")), content="c2")
    assert entries(reopening) == 1


def test_of_two_runs_of_one_request_at_once_one_does_it() -> None:
    reopening = after_the_cut()
    stages, outcomes = reopening.stages, list[object]()
    together = threading.Barrier(8)

    def run() -> None:
        with handling(Request("k1", "c1")):
            together.wait()
            try:
                outcomes.append(stages.do(entry()).seq)
            except AlreadyDone as done:
                outcomes.append(done)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [found.seq for found in outcomes if isinstance(found, AlreadyDone)]
    assert len(done) == 7
    assert entries(reopening) == 1
    assert set(done) == {found for found in outcomes if isinstance(found, int)}


def test_a_refused_request_uses_up_nothing() -> None:
    reopening = after_the_cut()
    with pytest.raises(IllegalTransition):
        ask(reopening.stages, lambda: reopening.stages.cancel("eng-1", STAGE, "no plan yet"))
    reopening.stages.plan("eng-1", STAGE)
    assert ask(reopening.stages, lambda: reopening.stages.cancel("eng-1", STAGE, "no plan yet")).stage(STAGE).state == "cancelled"


def test_a_repeated_application_begins_nothing() -> None:
    reopening = after_the_cut(approved=STAGE)
    stages = reopening.stages
    assert ask(stages, lambda: stages.apply("eng-1", STAGE)).stage(STAGE).state == "applying"
    assert stages.runner.wait(60)
    size = reopening.log.head().size
    assert ask(stages, lambda: stages.apply("eng-1", STAGE)).stage(STAGE).state == "applying", "as it was answered"
    assert stages.runner.wait(60)
    assert (reopening.status(STAGE).state, reopening.log.head().size) == ("open", size)


def test_a_stage_and_its_supplements_go_back_in_one_piece() -> None:
    reopening = after_the_cut(STAGE)
    stages = reopening.stages
    before = reopening.log.head().size
    ask(stages, lambda: stages.revert("eng-1", STAGE, "wrong"))
    assert stages.runner.wait(60)
    marked = [event.type for event in reopening.log.read(before) if MARK in event.body]
    assert marked == [E.STAGE_REVERTING]
    size = reopening.log.head().size
    assert ask(stages, lambda: stages.revert("eng-1", STAGE, "wrong")).stage(STAGE).state == "reverting"
    assert (reopening.status(STAGE).state, reopening.log.head().size) == ("reverted", size)


def test_who_asks_about_something_that_has_moved_is_told_so() -> None:
    reopening = after_the_cut()
    stages = reopening.stages
    stages.plan("eng-1", STAGE)
    seen = stages.journal.version(f"stages/{STAGE}")
    stages.plan("eng-2", STAGE)
    size = reopening.log.head().size
    with pytest.raises(Moved), handling(Request(object=f"stages/{STAGE}", versions=frozenset({seen}))):
        stages.cancel("eng-1", STAGE, "not what I saw")
    assert reopening.log.head().size == size
    with handling(Request(object=f"stages/{STAGE}", versions=frozenset({stages.journal.version(f"stages/{STAGE}")}))):
        assert stages.cancel("eng-1", STAGE, "what I saw").stage(STAGE).state == "cancelled"


def test_every_event_about_a_stage_or_a_waiver_moves_it() -> None:
    reopening = after_the_cut()
    stages = reopening.stages
    wanted = RequestWaiver("rssi", STAGE, "owner-named", "a reason", "a risk", "2026-06-25T08:00:00Z", None)
    asked = stages.do(wanted)
    waiver = list(asked.waivers)[-1]
    assert stages.journal.state().seq == asked.seq
    assert stages.journal.version(f"waivers/{waiver}") == stages.journal.version(f"stages/{STAGE}") == asked.seq
    assert stages.journal.version("waivers/W99") == -1
    last = list(reopening.log.read())[-1]
    assert objects_of(last) == (f"stages/{STAGE}", f"waivers/{waiver}")


def test_work_in_the_background_belongs_to_no_request() -> None:
    seen: list[Request | None] = []
    with handling(Request("k1", "c1")):
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
    assert seen == [None]
