"""Openings that two stages need: one of them is closed, and what becomes of the other is known, said and read back."""

from __future__ import annotations

from functools import cache
from typing import Any

from orchestrator.domain.conversation_states import ConversationState as C
from orchestrator.domain.events import EventType as E
from orchestrator.domain.layer import Element
from orchestrator.domain.policy import Flow, Stage
from tests.service.reopening import Reopening, after_the_cut
from tests.service.test_reisolation import log_equals_devices, reisolate

GPS, BROAD, LOW, HIGH = "Q1-gps", "Q2-everybody", "Q3-low", "Q4-high"
IMAGES, SAME = "Q5-images", "Q6-the-same-images"
PORTAL, ACQUIRER = "203.0.113.20", "198.51.100.32"
INSIDE = {"addresses": ["10.20.11.10", "2001:db8:20:11::10"], "application": "imaging-portal", "direction": "in"}
GATEWAY = {"addresses": ["10.20.12.10", "2001:db8:20:12::10"], "application": "card-payment", "direction": "out"}
PACS = {"addresses": ["10.20.22.10", "2001:db8:20:22::10"], "application": "image-exchange", "direction": "in", "partners": ["sister"]}
FLOWS = {
    "images": {**PACS, "services": ["tcp/104"]},
    "images-again": {**PACS, "services": ["tcp/104"]},
    "to-portal-gps": {**INSIDE, "partners": ["gps"], "services": ["tcp/443"]},
    "to-portal-all": {**INSIDE, "partners": ["everyone"], "services": ["tcp/443"]},
    "pay-low": {**GATEWAY, "partners": ["acquirer"], "services": ["tcp/8000-8443"]},
    "pay-high": {**GATEWAY, "partners": ["acquirer"], "services": ["tcp/8443-9000"]},
}
STAGES = {GPS: "to-portal-gps", BROAD: "to-portal-all", LOW: "pay-low", HIGH: "pay-high", IMAGES: "images", SAME: "images-again"}


def stage(name: str, flow: str) -> Stage:
    said: dict[str, Any] = {
        "name": name,
        "title": {"en": name, "fr": name},
        "flows": [flow],
        "gates": [{"evidence": "seen", "title": {"en": "Seen", "fr": "Vu"}}],
        "votes": {"network-engineer": 1},
        "observation": "1s",
    }
    return Stage.model_validate(said)


@cache
def _made(*opened: str) -> Reopening:
    if opened:
        reopening = _made(*opened[:-1]).copy()
        reopening.policy = _made().policy
        reopening.open(opened[-1])
        return reopening
    reopening = after_the_cut("P0-lifelines")
    flows = tuple(Flow.model_validate({"name": name, **words}) for name, words in FLOWS.items())
    stages = tuple(stage(name, flow) for name, flow in STAGES.items())
    policy = reopening.policy
    reopening.policy = policy.model_copy(update={"flows": (*policy.flows, *flows), "stages": (*policy.stages, *stages)})
    reopening.ratify()
    return reopening


def after(*opened: str) -> Reopening:
    """After the cut and the lifelines, these stages open."""
    reopening = _made(*opened).copy()
    reopening.policy = _made().policy
    return reopening


def held(reopening: Reopening, device: str, stage: str) -> tuple[Element, ...]:
    return reopening.stages.state().device(device).openings.get(stage, ())


def revert(reopening: Reopening, stage: str) -> None:
    reopening.stages.revert("eng-1", stage, "not now")
    assert reopening.stages.runner.wait(60)
    assert reopening.status(stage).state == "reverted"


def test_an_opening_that_both_need_stays_when_the_first_is_closed_and_it_is_said() -> None:
    reopening = after(GPS, BROAD)
    shared = held(reopening, "fw-ext", GPS)
    assert shared
    assert set(shared) < set(held(reopening, "fw-ext", BROAD))
    made = reisolate(reopening, "flow", "to-portal-gps")
    assert reopening.status(GPS).state == "suspended"
    assert held(reopening, "fw-ext", GPS) == ()
    assert set(shared) < set(held(reopening, "fw-ext", BROAD))
    assert reopening.reaches("gp", PORTAL, 443), "by what everybody may do"
    assert made.takes == ()
    assert any("part of to-portal-gps with gps lies in what others hold open on fw-ext" in note for note in made.notes)
    log_equals_devices(reopening)


def test_an_opening_that_both_need_stays_when_the_second_is_closed() -> None:
    reopening = after(GPS, BROAD)
    reisolate(reopening, "flow", "to-portal-all")
    assert reopening.reaches("gp", PORTAL, 443)
    assert not reopening.reaches("internet-host", PORTAL, 443)
    assert reopening.status(GPS).state == "open"
    log_equals_devices(reopening)


def test_an_opening_that_both_need_is_closed_with_the_last_of_them() -> None:
    reopening = after(GPS, BROAD)
    reisolate(reopening, "application", "imaging-portal")
    assert not reopening.reaches("gp", PORTAL, 443)
    assert not reopening.reaches("internet-host", PORTAL, 443)
    assert {reopening.status(name).state.value for name in (GPS, BROAD)} == {"suspended"}
    log_equals_devices(reopening)


def test_reverting_one_of_two_stages_leaves_what_the_other_needs() -> None:
    reopening = after(GPS, BROAD)
    revert(reopening, GPS)
    assert reopening.reaches("gp", PORTAL, 443)
    (told,) = [event.body for event in reopening.log.read() if event.type is E.STAGE_REVERTED]
    assert [BROAD, "to-portal-all", "everyone", "fw-ext"] in told["stays"]
    assert "fw-ext keeps what it shares with to-portal-all with everyone (Q2-everybody) open" in reopening.status(GPS).detail
    revert(reopening, BROAD)
    last = [event.body for event in reopening.log.read() if event.type is E.STAGE_REVERTED][-1]
    assert "stays" not in last
    assert "keeps" not in reopening.status(BROAD).detail
    assert not reopening.reaches("gp", PORTAL, 443)
    log_equals_devices(reopening)


def test_a_port_and_elements_that_both_hold_whole_are_touched_by_neither_but_the_last() -> None:
    """Where others hold all of a change nothing is sent: a switch or a router has no words for nothing."""
    reopening = after(IMAGES, SAME)
    assert held(reopening, "fw-int", IMAGES) == held(reopening, "fw-int", SAME)
    before = len(tuple(reopening.log.read()))
    revert(reopening, IMAGES)
    told = tuple(reopening.log.read())[before:]
    assert [event.device for event in told if event.type in (E.DEVICE_CHANGE_INTENDED, E.DEVICE_CHANGED)] == []
    assert {event.device for event in told if event.type is E.DEVICE_READ_BACK} >= {"fw-int", "sw-dmz"}, "read back all the same"
    detail = reopening.status(IMAGES).detail
    assert f"fw-int keeps what it shares with images-again with sister ({SAME}) open" in detail
    assert f"sw-dmz keeps p-ght released for {SAME}" in detail
    assert reopening.reaches("sister", "10.20.22.10", 104)
    revert(reopening, SAME)
    assert not reopening.reaches("sister", "10.20.22.10", 104)
    log_equals_devices(reopening)


def test_a_partner_is_stopped_although_its_opening_is_shared() -> None:
    reopening = after(GPS, BROAD)
    made = reisolate(reopening, "partner", "gps")
    assert not reopening.reaches("gp", PORTAL, 443)
    assert reopening.reaches("internet-host", PORTAL, 443)
    assert (BROAD, "to-portal-all", "everyone", "block list") in made.takes
    assert made.checked == "successful"


def test_boxes_that_only_overlap_the_common_part_is_closed_with_the_first_and_the_other_is_named() -> None:
    """The common port was laid once, for who came first. The other stage stays open without it, and everybody is told."""
    reopening = after(LOW, HIGH)
    assert reopening.reaches("gateway", ACQUIRER, 8443)
    assert {element.ports for element in held(reopening, "fw-ext", HIGH)} == {(8444, 9000)}
    made = reisolate(reopening, "flow", "pay-low")
    assert (HIGH, "pay-high", "acquirer", "fw-ext") in made.takes
    assert not reopening.reaches("gateway", ACQUIRER, 8443)
    assert reopening.status(HIGH).conversations[("pay-high", "acquirer")] is C.OPEN
    assert {element.ports for element in held(reopening, "fw-ext", HIGH)} == {(8444, 9000)}
    log_equals_devices(reopening)


def test_boxes_that_only_overlap_closing_the_second_takes_nothing_from_the_first() -> None:
    reopening = after(LOW, HIGH)
    made = reisolate(reopening, "flow", "pay-high")
    assert made.takes == ()
    assert reopening.reaches("gateway", ACQUIRER, 8443)
    log_equals_devices(reopening)


def test_a_revert_names_whom_it_takes_something_from() -> None:
    reopening = after(LOW, HIGH)
    revert(reopening, LOW)
    told = [event.body for event in reopening.log.read() if event.type is E.STAGE_REVERTED]
    assert [HIGH, "pay-high", "acquirer", "fw-ext"] in told[0]["takes"]
    assert "pay-high with acquirer" in reopening.status(LOW).detail
    log_equals_devices(reopening)


def test_what_was_taken_comes_back_by_a_plan_of_its_own() -> None:
    reopening = after(LOW, HIGH)
    reisolate(reopening, "flow", "pay-low")
    revert(reopening, HIGH)
    reopening.open(HIGH)
    assert {element.ports for element in held(reopening, "fw-ext", HIGH)} == {(8443, 9000)}
    assert reopening.reaches("gateway", ACQUIRER, 8443)
    log_equals_devices(reopening)
