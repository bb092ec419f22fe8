"""A lift and a resumption compared as packets: they have no openings of their own, and their plans are made in their own way."""

from __future__ import annotations

from ipaddress import ip_network

from orchestrator.domain.commands import DeferStage
from orchestrator.domain.layer import Element
from orchestrator.domain.plan import Reachability
from orchestrator.domain.stage_names import RESUME
from orchestrator.domain.told_packets import between_told, box_of_line
from orchestrator.service.comparison import with_devices, with_plan_now
from orchestrator.simulation.device import Fault
from tests.service.reopening import Reopening
from tests.service.test_lift import LIFT, planned, ready
from tests.service.test_resume import CARE, LIFELINES, MAIL, alert, cut_again, declare

BY_HAND = Element(source=ip_network("198.51.100.99/32"), destination=ip_network("10.20.11.20/32"), protocol=6, ports=(22, 22))


def to_lift() -> Reopening:
    reopening = ready()
    reopening.stages.plan("eng-1", LIFT)
    return reopening


def to_resume() -> Reopening:
    reopening, _ = cut_again(LIFELINES, MAIL, CARE)
    declare(reopening)
    reopening.stages.plan("eng-1", RESUME)
    return reopening


def test_a_lift_that_has_not_moved_is_the_same() -> None:
    reopening = to_lift()
    assert with_plan_now(reopening.stages, "auditor", LIFT).same
    assert with_devices(reopening.stages, "auditor", LIFT).same


def test_packets_that_only_one_of_two_lifts_makes_possible_are_told() -> None:
    before = planned(to_lift())
    line = before.becomes_possible[0]
    without = before.model_copy(update={"becomes_possible": before.becomes_possible[1:]})
    told = between_told(without, before)
    assert list(told) == list(line.through)
    assert not told[line.through[0]].disappears
    assert line.source in told[line.through[0]].describe()[0]


def test_every_line_of_a_plan_reads_back_as_the_packets_that_it_says() -> None:
    lines = (*planned(to_lift()).becomes_possible, *(_resumption(to_resume())))
    assert len(lines) > 40
    for line in lines:
        said = box_of_line(line).describe()
        assert said.startswith(f"{line.source} → {line.destination} {line.service.partition(' (')[0]}"), line


def _resumption(reopening: Reopening) -> tuple[Reachability, ...]:
    plan = reopening.status(RESUME).plan
    assert plan is not None
    return plan.becomes_possible


def test_a_device_whose_own_configuration_changed_since_the_lift_was_planned_is_named() -> None:
    reopening = to_lift()
    reopening.hospital.machines["fw-ext"].site_rules = "accept everything from 198.51.100.99"
    told = with_plan_now(reopening.stages, "auditor", LIFT)
    assert "not the one that was read for the vote" in told.guards["fw-ext"]


def test_a_lift_whose_devices_cannot_be_read_is_not_the_same_and_says_why() -> None:
    reopening = to_lift()
    reopening.hospital.machines["fw-ext"].faults.add(Fault.CONNECTION_REFUSED)
    told = with_plan_now(reopening.stages, "auditor", LIFT)
    assert not told.same
    assert "fw-ext" in told.unknown[""]


def test_a_resumption_that_has_not_moved_is_the_same_and_its_devices_are_those_of_its_stages() -> None:
    reopening = to_resume()
    assert with_plan_now(reopening.stages, "auditor", RESUME).same
    assert with_devices(reopening.stages, "auditor", RESUME).same
    reopening.hospital.machines["fw-ext"].opened[BY_HAND] = None
    told = with_devices(reopening.stages, "auditor", RESUME)
    assert told.devices["fw-ext"].describe() == ("+ 198.51.100.99/32 → 10.20.11.20/32 tcp/22",)


def test_a_resumption_that_would_leave_a_stage_out_now_is_told_as_packets() -> None:
    reopening = to_resume()
    reopening.stages.do(DeferStage("rssi", MAIL, "not before the relay is rebuilt"))
    told = with_plan_now(reopening.stages, "auditor", RESUME)
    assert not told.same
    assert told.devices
    assert all(not difference.appears and difference.disappears for difference in told.devices.values())


def test_a_resumption_that_is_held_back_now_says_so() -> None:
    reopening = to_resume()
    alert(reopening, 1)
    told = with_plan_now(reopening.stages, "auditor", RESUME)
    assert "cannot be planned now" in told.unknown[""]
