"""The state that a log gives: what a cut-off does to it, in whatever order its events reach the log."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from orchestrator.domain.events import Event
from orchestrator.domain.events import EventType as E
from orchestrator.domain.folding import apply, fold
from orchestrator.domain.layer import DeviceChange, Element, Opening
from orchestrator.domain.making import without_floats
from orchestrator.domain.posture import SitePosture
from orchestrator.domain.state import SiteState
from orchestrator.errors import IllegalTransition

AT = "2026-06-24T08:00:00.000Z"


def events(*given: tuple[Any, ...]) -> list[Event]:
    made = []
    for seq, (type_, body, *about) in enumerate(given):
        device, stage = [*about, None, None][:2]
        made.append(Event(type_, AT, "x", body, stage, device, seq=seq))
    return made


def ordered(epoch: int, *devices: str) -> tuple[E, dict[str, Any]]:
    return E.CUTOFF_ORDERED, {"epoch": epoch, "profile": "total", "devices": list(devices)}


def applied(epoch: int, device: str, step: str = "applied") -> tuple[E, dict[str, Any], str, None]:
    laid = step == "applied"
    return E.CUTOFF_APPLIED, {"epoch": epoch, "step": step, "laid": laid, "slots": {"total-1": "d" * 64} if laid else {}}, device, None


def verified(epoch: int) -> tuple[E, dict[str, Any]]:
    return E.CUTOFF_VERIFIED, {"epoch": epoch}


CHANGE = DeviceChange.model_validate(
    {
        "device": "fw-ext",
        "openings": [
            {
                "flow": "mail-in",
                "partner": "everyone",
                "element": {"source": "0.0.0.0/0", "destination": "10.20.11.25/32", "protocol": 6, "ports": [25, 25]},
            }
        ],
    }
)


def opened_on_fw_ext() -> list[tuple[E, dict[str, Any], str, str]]:
    change = CHANGE.model_dump(mode="json")
    return [
        (E.DEVICE_CHANGE_INTENDED, {"action": "open", "change": change}, "fw-ext", "P1"),
        (E.DEVICE_READ_BACK, {"step": "applied", "as_expected": True, "settles": None, "change": None}, "fw-ext", "P1"),
        (E.DEVICE_READ_BACK, {"step": "applied", "as_expected": True, "settles": "confirm", "change": change}, "fw-ext", "P1"),
    ]


def test_nothing_has_ever_happened() -> None:
    state = fold([])
    assert (state.posture, state.epoch, state.rehearsal, state.stage("P0").state) == (SitePosture.NORMAL, 0, False, "draft")


def test_the_events_of_a_cut_off_give_the_same_in_any_order() -> None:
    """The order may lie in the spool when the outcomes are in the log already."""
    parts = [ordered(5, "fw-ext"), applied(5, "fw-ext"), verified(5)]
    results = {(s.posture, s.epoch, s.device("fw-ext").step, s.last_cutoff.verdict if s.last_cutoff else "")
               for order in permutations(parts) for s in [fold(events(*order))]}  # fmt: skip
    assert results == {(SitePosture.ISOLATED, 5, "applied", "verified")}


def test_an_older_cut_off_that_arrives_late_changes_nothing() -> None:
    state = fold(events(ordered(5, "fw-ext"), applied(5, "fw-ext"), verified(5), *opened_on_fw_ext()))
    late = fold(events(ordered(4, "fw-ext"), applied(4, "fw-ext"), (E.CUTOFF_PARTIAL, {"epoch": 4})), state)
    assert (late.posture, late.epoch) == (SitePosture.ISOLATED, 5)
    assert late.device("fw-ext").openings


def test_an_opening_is_pending_from_its_intent_and_lasting_from_its_confirmed_read_back() -> None:
    steps = events(*opened_on_fw_ext())
    state = apply(SiteState(), steps[0])
    assert state.device("fw-ext").pending == {"P1": CHANGE}
    assert state.device("fw-ext").opened == ()
    state = fold(steps[1:], state)
    assert state.device("fw-ext").pending == {}
    assert state.device("fw-ext").opened == CHANGE.elements


def test_a_read_back_that_differs_settles_nothing() -> None:
    intended, _, confirmed = opened_on_fw_ext()
    confirmed[1].update(as_expected=False, step="refused")
    state = fold(events(intended, confirmed))
    assert state.device("fw-ext").pending == {"P1": CHANGE}
    assert state.device("fw-ext").opened == ()


def test_a_cut_off_forgets_the_openings_where_the_layer_was_laid_and_only_there() -> None:
    state = fold(events(*opened_on_fw_ext()))
    assert fold(events(ordered(6, "vpn"), applied(6, "vpn")), state).device("fw-ext").openings
    assert fold(events(ordered(6, "fw-ext"), applied(6, "fw-ext", "unknown")), state).device("fw-ext").openings
    assert not fold(events(ordered(6, "fw-ext"), applied(6, "fw-ext")), state).device("fw-ext").openings


def test_closing_one_stage_leaves_what_another_holds_open() -> None:
    state = fold(events(*opened_on_fw_ext()))
    device = state.device("fw-ext")
    assert device.held_by_others("P1") == frozenset()
    assert device.held_by_others("P2") == frozenset(CHANGE.elements)


def test_lifting_the_last_layer_is_what_moves_the_posture() -> None:
    state = fold(events(ordered(5, "fw-ext", "vpn"), applied(5, "fw-ext"), applied(5, "vpn"), verified(5)))
    state = apply(state, Event(E.LAYER_LIFTED, AT, "x", {}, None, "fw-ext", seq=9))
    assert state.posture is SitePosture.ISOLATED
    assert state.device("fw-ext").slots == {}
    assert apply(state, Event(E.LAYER_LIFTED, AT, "x", {}, None, "vpn", seq=10)).posture is SitePosture.SURVEILLANCE


def test_a_log_that_contradicts_the_table_does_not_fold() -> None:
    with pytest.raises(IllegalTransition):
        fold(events((E.STAGE_OPENED, {}, None, "P4")))


@pytest.mark.parametrize("number", [0.5, 1.0, 3.25, 30.0])
def test_numbers_come_back_from_the_log_as_they_went_in(number: float) -> None:
    kept = without_floats({"probes": [number]})
    assert not isinstance(kept["probes"][0], float)
    assert float(kept["probes"][0]) == number


def test_elements_of_two_stages_are_one_normal_form() -> None:
    element = Element.model_validate(CHANGE.elements[0].model_dump())
    opening = Opening(flow="other", partner="everyone", element=element)
    assert DeviceChange(device="fw-ext", openings=(opening, *CHANGE.openings)).elements == CHANGE.elements
