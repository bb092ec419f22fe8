"""What a colleague changes at night is found, told as packets, recorded once, and closed when somebody asks; nothing is opened."""

from __future__ import annotations

import json
from datetime import timedelta
from ipaddress import ip_network

import pytest

from orchestrator.domain.drift_status import DriftStatus, Kind
from orchestrator.domain.events import Event
from orchestrator.domain.events import EventType as E
from orchestrator.domain.folding import fold
from orchestrator.domain.layer import Element
from orchestrator.domain.profiles import layers_of
from orchestrator.errors import NotAllowed, Stale, UnknownName
from orchestrator.simulation.device import Fault, SimulatedDevice
from tests.service.reopening import Reopening, after_the_cut
from tests.service.test_execution import LIFELINES, MAIL, held
from tests.service.test_expiry import opened as opened_until

BY_HAND = Element(source=ip_network("198.51.100.99/32"), destination=ip_network("10.20.11.20/32"), protocol=6, ports=(22, 22))
TOLD = "198.51.100.99/32 → 10.20.11.20/32 tcp/22"


def of(reopening: Reopening, type_: E) -> list[Event]:
    return [event for event in reopening.log.read() if event.type is type_]


def look(reopening: Reopening, device: str = "fw-ext") -> DriftStatus:
    return reopening.stages.runner.drift.look([device])[device]


def kinds(status: DriftStatus) -> list[Kind]:
    return [item.kind for item in status.found]


def machine(reopening: Reopening, device: str = "fw-ext") -> SimulatedDevice:
    return reopening.hospital.machines[device]


def opened() -> Reopening:
    return after_the_cut(LIFELINES)


def repaired(reopening: Reopening, device: str = "fw-ext", *, only_more: bool = False) -> tuple[str, ...]:
    did = reopening.stages.runner.repair.repair([device], only_more=only_more)[device].did
    assert reopening.stages.runner.wait(10)
    assert reopening.stages.runner.failures == []
    return did


def test_an_honest_hospital_has_no_drift_whatever_is_open_on_any_device() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    found = reopening.stages.runner.drift.look()
    assert set(found) == set(reopening.stages.state().devices)
    assert [status for status in found.values() if status.found] == []
    assert of(reopening, E.DRIFT_DETECTED) == []


def test_a_rule_opened_by_hand_is_told_as_packets_once_and_closed() -> None:
    reopening = opened()
    look(reopening)
    before = held(reopening)
    machine(reopening).opened[BY_HAND] = None
    (found,) = look(reopening).found
    assert (found.kind, found.more, found.appears) == (Kind.OPEN, True, (TOLD,))
    reopening.clock.wait(300)
    assert look(reopening).since == found.since
    assert len(of(reopening, E.DRIFT_DETECTED)) == 1, "not every five minutes the same"
    assert repaired(reopening) == ("closed 1 openings",)
    assert held(reopening) == before
    assert look(reopening).found == ()
    (event,) = of(reopening, E.DRIFT_REPAIRED)
    assert event.body["left"] == []
    assert reopening.status(LIFELINES).state == "open", "what was approved goes on"


def test_a_change_of_what_was_found_is_recorded_again_and_since_stays() -> None:
    reopening = opened()
    machine(reopening).opened[BY_HAND] = None
    first = look(reopening).since
    reopening.clock.wait(300)
    machine(reopening).blocked = (ip_network("192.0.2.0/24"),)
    status = look(reopening)
    assert kinds(status) == [Kind.OPEN, Kind.BLOCKED]
    assert status.since == first
    assert len(of(reopening, E.DRIFT_DETECTED)) == 2
    machine(reopening).blocked = ()
    machine(reopening).opened.pop(BY_HAND)
    assert look(reopening).found == ()
    (event,) = of(reopening, E.DRIFT_REPAIRED)
    assert "found as the log says again" in event.body["did"][0]


def test_a_flushed_layer_is_laid_again_closed_and_its_stages_are_suspended_and_stay_so() -> None:
    reopening = opened()
    there = machine(reopening)
    there.slots.clear()
    there.opened.clear()
    (found,) = look(reopening).found
    assert found.kind is Kind.LAYER_MISSING
    assert "any → any through wan0, where the site's own rules let it" in found.appears
    assert reopening.reaches("gp", "203.0.113.21", 80)
    did = repaired(reopening)
    assert did[0].startswith("laid the layer again")
    assert f"suspended {LIFELINES}" in did[1]
    assert set(there.slots) == set(there.boots) == set(reopening.stages.state().device("fw-ext").slots)
    assert there.opened == {}
    assert not reopening.reaches("gp", "203.0.113.21", 80)
    assert reopening.status(LIFELINES).state == "suspended"
    assert held(reopening)["rtr-isp"][1] == set(), "what it held on other devices is closed as well"
    assert look(reopening).found == ()
    reopening.clock.wait(3600)
    reopening.stages.runner.chores.turn()
    reopening.stages.runner.wait(10)
    assert there.opened == {}, "nothing is opened again"


def test_a_second_layer_still_holds_what_the_missing_one_stopped() -> None:
    reopening = after_the_cut()
    reopening.cut("internet")
    there = machine(reopening)
    total = next(slot for slot in there.slots if slot.startswith("total"))
    del there.slots[total]
    (found,) = look(reopening).found
    assert found.kind is Kind.LAYER_MISSING
    assert not any(line.startswith("any → any through wan0") for line in found.appears)
    assert any("203.0.113" in line or "198.51.100" in line or "10.20" in line for line in found.appears), "the flows that `internet` keeps"


def test_a_changed_layer_counts_as_not_there() -> None:
    reopening = after_the_cut()
    there = machine(reopening)
    (slot,) = there.slots
    there.slots[slot] = there.slots[slot].model_copy(update={"keep": (*there.slots[slot].keep, BY_HAND)})
    (found,) = look(reopening).found
    assert found.kind is Kind.LAYER_CHANGED
    assert found.more
    assert repaired(reopening) == ("laid the layer again, and made it what it starts with",)
    assert look(reopening).found == ()


def test_less_than_approved_after_a_reboot_is_told_and_suspended_when_a_person_says_so() -> None:
    reopening = opened()
    machine(reopening).reboot()
    (found,) = look(reopening).found
    assert found.kind is Kind.NOT_OPEN
    assert not found.more
    assert found.disappears
    assert not found.appears
    assert reopening.stages.runner.repair.repair(["fw-ext"], only_more=True) == {}
    assert reopening.status(LIFELINES).state == "open"
    assert "suspended" in repaired(reopening)[0]
    assert reopening.status(LIFELINES).state == "suspended"
    assert look(reopening).found == ()
    assert machine(reopening).opened == {}


def test_a_released_guard_that_is_open_by_hand_is_shut_and_one_that_is_shut_is_less() -> None:
    reopening = after_the_cut(LIFELINES)
    switch = machine(reopening, "sw-core")
    (layer,) = switch.slots.values()
    guard = layer.guard[0]
    switch.released[guard] = None
    (found,) = look(reopening, "sw-core").found
    assert found.kind is Kind.GUARD_OPEN
    assert found.appears == (f"any → any through {guard}, both ways, where the devices behind it let it",)
    assert repaired(reopening, "sw-core") == (f"closed 0 openings and {guard}",)
    assert guard not in switch.released
    router = machine(reopening, "rtr-isp")
    router.released.clear()
    assert kinds(look(reopening, "rtr-isp")) == [Kind.GUARD_SHUT]
    repaired(reopening, "rtr-isp")
    assert reopening.status(LIFELINES).state == "suspended"


def test_the_block_list_the_epoch_the_start_up_and_a_loosened_layer() -> None:
    reopening = opened()
    there = machine(reopening)
    there.epoch = 3
    there.boots.clear()
    there.loosened_until = reopening.clock.time.timestamp() + 600
    assert kinds(look(reopening)) == [Kind.LOOSENED], "without its layer nothing else counts"
    assert repaired(reopening)[0] == "put the layer back in force"
    assert there.loosened_until is None
    assert kinds(look(reopening)) == []
    assert there.epoch == reopening.stages.state().device("fw-ext").epoch
    assert there.boots
    reopening.append(
        E.BLOCKLIST_DEVICE_APPLIED, {"networks": ["198.51.100.0/24"], "as_expected": True, "wanted": [], "step": "applied"}, "fw-ext"
    )
    (found,) = look(reopening).found
    assert found.kind is Kind.NOT_BLOCKED
    assert found.appears == ("any ↔ 198.51.100.0/24, of what is kept and opened",)
    repaired(reopening)
    assert there.blocked == (ip_network("198.51.100.0/24"),)
    assert reopening.status(LIFELINES).state == "open", "none of this touches what was approved"


def test_a_device_at_a_newer_epoch_was_cut_without_this_log_and_ours_goes_beyond_it() -> None:
    reopening = opened()
    there = machine(reopening)
    for layer in layers_of(reopening.site, reopening.policy, "total"):
        if layer.device == "fw-ext":
            there.execute(reopening.hospital.dialect_for("nftables").lay(layer).filled(epoch=90).text, may_open=False)
    status = look(reopening)
    assert kinds(status) == [Kind.NOT_OPEN, Kind.EPOCH_NEWER]
    assert not any(item.more for item in status.found)
    repaired(reopening)
    assert there.epoch is not None
    assert there.epoch > 90
    assert reopening.stages.state().device("fw-ext").epoch == there.epoch
    assert look(reopening).found == ()


@pytest.mark.parametrize("later_s", [None, 7 * 86_400, 300])
def test_an_opening_that_lost_its_end_or_got_a_later_one_is_closed_and_its_stage_suspended(later_s: int | None) -> None:
    """Somebody on the device has made lasting, or longer, what was approved until a time."""
    reopening = opened_until(timedelta(hours=10), "close")
    assert look(reopening).found == ()
    reopening.clock.wait(3600)
    assert look(reopening).found == (), "an hour later an hour less is left, by the log too"
    there = machine(reopening)
    element, ends = next((element, ends) for element, ends in there.opened.items() if ends is not None)
    there.opened[element] = None if later_s is None else ends + later_s
    (found,) = look(reopening).found
    assert (found.kind, found.more, len(found.appears)) == (Kind.NO_END, True, 1)
    assert f"suspended {MAIL}" in " ".join(repaired(reopening))
    assert element not in there.opened
    assert reopening.status(MAIL).state == "suspended"
    assert reopening.status(LIFELINES).state == "open"


def test_a_device_that_closes_as_late_as_its_commands_took_is_as_the_log_says() -> None:
    reopening = opened_until(timedelta(hours=10), "close")
    there = machine(reopening)
    there.opened = {element: None if ends is None else ends + 60 for element, ends in there.opened.items()}
    assert look(reopening).found == ()


def test_an_opening_that_got_an_end_which_nobody_approved_is_less() -> None:
    reopening = opened()
    there = machine(reopening)
    element = next(iter(there.opened))
    there.opened[element] = reopening.clock.time.timestamp() + 900
    (found,) = look(reopening).found
    assert found.kind is Kind.ENDS
    assert not found.more


def test_a_device_that_cannot_be_read_is_told_once_and_keeps_what_was_found() -> None:
    reopening = opened()
    machine(reopening).opened[BY_HAND] = None
    look(reopening)
    machine(reopening).faults.add(Fault.HANG)
    assert kinds(look(reopening)) == [Kind.UNREADABLE, Kind.OPEN]
    machine(reopening).faults = {Fault.GARBAGE}
    assert kinds(look(reopening)) == [Kind.UNREADABLE, Kind.OPEN]
    assert len(of(reopening, E.DRIFT_DETECTED)) == 2, "why it does not answer may be said in many ways"
    machine(reopening).faults.clear()
    assert kinds(look(reopening)) == [Kind.OPEN]


def test_while_a_cut_off_is_at_work_nobody_looks() -> None:
    reopening = opened()
    reopening.append(E.CUTOFF_ORDERED, {"epoch": 99, "profile": "total", "devices": ["fw-ext"]})
    reopening.hospital.sent.clear()
    assert reopening.stages.runner.drift.look() == {}
    assert reopening.hospital.sent == []


def test_a_repair_that_the_device_refuses_says_what_is_left() -> None:
    reopening = opened()
    machine(reopening).opened[BY_HAND] = None
    look(reopening)
    ask = reopening.hospital.machines["fw-ext"].execute

    def no_closing(text: str, *, may_open: bool) -> str:
        if json.loads(text)["verb"] in ("close", "lay"):
            machine(reopening).faults.add(Fault.LOST_OUTCOME)
            return ""
        return ask(text, may_open=may_open)

    machine(reopening).execute = no_closing  # type: ignore[method-assign]
    done = reopening.stages.runner.repair.repair(["fw-ext"])["fw-ext"]
    assert [item.kind for item in done.left] == [Kind.UNREADABLE, Kind.OPEN]
    (event,) = of(reopening, E.DRIFT_REPAIRED)
    assert [item["kind"] for item in event.body["left"]] == ["unreadable", "open"]


def test_repairing_never_opens_and_uses_the_cut_key_only() -> None:
    reopening = opened()
    there = machine(reopening)
    there.slots.clear()
    there.opened[BY_HAND] = None
    reopening.hospital.sent.clear()
    repaired(reopening)
    assert {credential.value for _, _, credential in reopening.hospital.sent} == {"cut"}
    intents = [event for event in of(reopening, E.DEVICE_CHANGE_INTENDED) if event.body["action"] == "repair"]
    assert intents
    assert E.STAGE_SUSPENDED in {event.type for event in reopening.log.read() if event.seq < intents[-1].seq}, "said before it is sent"


# --- the policy's word ----------------------------------------------------------------------------------------------


def at_once(reopening: Reopening) -> None:
    drift = reopening.policy.drift.model_copy(update={"repair": "at-once"})
    reopening.policy = reopening.policy.model_copy(update={"drift": drift})
    reopening.ratify()


@pytest.mark.parametrize("is_at_once", [True, False])
def test_the_watch_repairs_by_itself_only_where_the_policy_says_so(is_at_once: bool) -> None:
    reopening = opened()
    if is_at_once:
        at_once(reopening)
    machine(reopening).opened[BY_HAND] = None
    reopening.stages.runner.look_for_drift()
    assert reopening.stages.runner.wait(10)
    assert (BY_HAND in machine(reopening).opened) is not is_at_once
    assert len(of(reopening, E.DRIFT_DETECTED)) == 1
    assert len(of(reopening, E.DRIFT_REPAIRED)) == int(is_at_once)


def test_what_it_cannot_repair_it_does_not_repair_again_every_five_minutes() -> None:
    reopening = opened()
    at_once(reopening)
    machine(reopening).opened[BY_HAND] = None
    ask = machine(reopening).execute

    def deaf(text: str, *, may_open: bool) -> str:
        return "" if json.loads(text)["verb"] in ("close", "lay") else ask(text, may_open=may_open)

    machine(reopening).execute = deaf  # type: ignore[method-assign]
    for _ in range(4):
        reopening.stages.runner.look_for_drift()
        assert reopening.stages.runner.wait(10)
        reopening.clock.wait(300)
    assert len(of(reopening, E.DRIFT_REPAIRED)) == 1
    reopening.clock.wait(1800)
    reopening.stages.runner.look_for_drift()
    assert reopening.stages.runner.wait(10)
    assert len(of(reopening, E.DRIFT_REPAIRED)) == 2


# --- beside the layer -----------------------------------------------------------------------------------------------


def test_a_change_beside_the_layer_is_told_by_section_until_a_person_accepts_it() -> None:
    reopening = opened()
    there = machine(reopening)
    there.site_rules = "ip route default via 203.0.113.1"
    assert look(reopening).found == (), "the first look is what later ones are compared with"
    assert len(of(reopening, E.SURROUNDINGS_NOTED)) == 1
    there.site_rules = "ip route default via 203.0.113.1\nip route 10.20.22.0/24 via 203.0.113.9"
    (found,) = look(reopening).found
    assert (found.kind, found.section) == (Kind.BESIDE, "rules")
    assert found.diff == ("+ip route 10.20.22.0/24 via 203.0.113.9",)
    assert reopening.stages.runner.repair.repair(["fw-ext"]) == {}, "what lies beside the layer is the site's own"
    with pytest.raises(NotAllowed):
        reopening.stages.runner.drift.accept("auditor", "fw-ext", "rules", "it was me")
    with pytest.raises(UnknownName, match="nothing is reported"):
        reopening.stages.runner.drift.accept("eng-1", "fw-ext", "routes", "")
    there.site_rules += "\nip route 10.20.23.0/24 via 203.0.113.9"
    with pytest.raises(Stale, match="no longer what was reported"):
        reopening.stages.runner.drift.accept("eng-1", "fw-ext", "rules", "the new leased line")
    look(reopening)
    state = reopening.stages.runner.drift.accept("eng-1", "fw-ext", "rules", "the new leased line")
    section = state.watched.surroundings["fw-ext"]["rules"]
    assert (section.by, section.reason) == ("eng-1", "the new leased line")
    assert look(reopening).found == ()
    assert len(of(reopening, E.DRIFT_DETECTED)) == 2


def test_deny_rules_of_the_site_that_are_gone_are_more_also_after_the_layer_is_repaired() -> None:
    reopening = opened()
    there = machine(reopening)
    there.site_rules = "policy drop\ntcp dport 23 drop\ntcp dport 23 drop\ntcp dport 443 accept"
    look(reopening)
    there.site_rules = "tcp dport 443 accept\ntcp dport 23 drop\ntcp dport 23 drop\npolicy drop"
    (moved,) = look(reopening).found
    assert (moved.kind, moved.more, moved.appears) == (Kind.BESIDE, False, ()), "the same lines in another order: a person looks"
    there.slots.clear()
    there.site_rules = "tcp dport 443 accept\ntcp dport 23 drop"
    assert Kind.LAYER_MISSING in kinds(look(reopening))
    repaired(reopening)
    (left,) = look(reopening).found
    assert (left.kind, left.section, left.more) == (Kind.BESIDE, "rules", True)
    assert "2 of the site's own deny rules are gone" in left.text
    assert left.appears == ("what the site stopped by: policy drop", "what the site stopped by: tcp dport 23 drop")
    assert reopening.stages.runner.repair.due({"fw-ext": look(reopening)}) == (), "it is the site's own: nobody repairs it but people"


def test_another_cut_off_in_the_same_incident_accepts_nothing() -> None:
    reopening = opened()
    look(reopening)
    machine(reopening).site_rules = "dnat to an unknown host"
    reopening.clock.wait(60)
    reopening.cut("internet")
    assert kinds(look(reopening)) == [Kind.BESIDE]


def test_folded_as_events_say_it_again() -> None:
    reopening = opened()
    machine(reopening).opened[BY_HAND] = None
    look(reopening)
    assert fold(reopening.log.read()) == reopening.stages.journal.state()
