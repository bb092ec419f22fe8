"""Plans and devices compared as packets: nothing differs after an honest opening, and a line laid by hand is told."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from orchestrator.domain.layer import Element
from orchestrator.errors import Stale
from orchestrator.service.comparison import between_releases, with_devices, with_plan_now
from orchestrator.simulation.device import Fault
from tests.service.reopening import after_the_cut
from tests.service.test_execution import LIFELINES, MAIL

BY_HAND = Element(source=ip_network("198.51.100.99/32"), destination=ip_network("10.20.11.20/32"), protocol=6, ports=(22, 22))


def test_what_is_open_is_what_was_voted_on_and_a_line_laid_by_hand_is_told_as_packets() -> None:
    reopening = after_the_cut()
    reopening.open(LIFELINES)
    assert with_devices(reopening.stages, "auditor", LIFELINES).same
    reopening.hospital.machines["fw-ext"].opened[BY_HAND] = None
    told = with_devices(reopening.stages, "auditor", LIFELINES)
    assert list(told.devices) == ["fw-ext"]
    assert told.devices["fw-ext"].describe() == ("+ 198.51.100.99/32 → 10.20.11.20/32 tcp/22",)


def test_an_opening_that_went_missing_is_told_as_packets_that_no_longer_pass() -> None:
    reopening = after_the_cut()
    reopening.open(LIFELINES)
    machine = reopening.hospital.machines["fw-ext"]
    lost = next(iter(machine.opened))
    del machine.opened[lost]
    told = with_devices(reopening.stages, "auditor", LIFELINES).devices["fw-ext"]
    assert not told.appears
    assert told.disappears


def test_before_it_is_applied_its_openings_are_not_expected() -> None:
    reopening = after_the_cut()
    reopening.stages.plan("eng-1", LIFELINES)
    assert with_devices(reopening.stages, "auditor", LIFELINES).same
    assert with_plan_now(reopening.stages, "auditor", LIFELINES).same


def test_a_device_that_does_not_answer_is_unknown_and_never_the_same() -> None:
    reopening = after_the_cut()
    reopening.open(LIFELINES)
    reopening.hospital.machines["fw-ext"].faults.add(Fault.CONNECTION_REFUSED)
    told = with_devices(reopening.stages, "auditor", LIFELINES)
    assert not told.same
    assert list(told.unknown) == ["fw-ext"]


def test_a_guard_that_a_colleague_shut_again_is_told() -> None:
    reopening = after_the_cut()
    reopening.open(LIFELINES)
    released = {name: machine.released for name, machine in reopening.hospital.machines.items() if machine.released}
    device, ports = next(iter(released.items()))
    ports.clear()
    told = with_devices(reopening.stages, "auditor", LIFELINES)
    assert "closed and should be released" in told.guards[device]
    assert not told.same


@pytest.mark.parametrize("opened", [False, True])
def test_a_layer_that_a_colleague_flushed_is_never_the_same_and_not_told_as_less_that_passes(opened: bool) -> None:
    """Without the layer the openings are gone as well, and everything passes that the site's own rules let."""
    reopening = after_the_cut()
    if opened:
        reopening.open(LIFELINES)
    else:
        reopening.stages.plan("eng-1", LIFELINES)
    machine = reopening.hospital.machines["fw-ext"]
    machine.slots.clear()
    machine.opened.clear()
    told = with_devices(reopening.stages, "auditor", LIFELINES)
    assert not told.same
    assert "is not there: what it should stop passes" in told.guards["fw-ext"]
    assert "fw-ext" not in told.devices


def test_a_guard_that_only_the_plan_made_now_releases_is_told() -> None:
    """No packet of the openings shows it: an interface that is released whole opens whatever lies behind it."""
    reopening = after_the_cut()
    planned = reopening.stages.plan("eng-1", LIFELINES).stage(LIFELINES).plan
    assert planned is not None
    released = {item.device: item.change.releases for item in planned.devices if item.change.releases}
    assert released
    without = tuple(item.model_copy(update={"change": item.change.model_copy(update={"releases": ()})}) for item in planned.devices)
    narrower = planned.model_copy(update={"devices": without})
    assert between_releases(narrower, planned) == {device: f"now also releases {', '.join(names)}" for device, names in released.items()}
    assert between_releases(planned, narrower) == {device: f"no longer releases {', '.join(names)}" for device, names in released.items()}
    assert between_releases(planned, planned) == {}


def test_a_plan_that_moved_is_told_as_packets() -> None:
    """P1 was planned with P0 open; after P0 is closed, the way of the mail is closed as well, and the plan is another."""
    reopening = after_the_cut()
    reopening.open(LIFELINES)
    reopening.stages.plan("eng-1", MAIL)
    assert with_plan_now(reopening.stages, "auditor", MAIL).same
    reopening.stages.revert("eng-1", LIFELINES, "a test")
    assert reopening.stages.runner.wait(10)
    assert not with_plan_now(reopening.stages, "auditor", MAIL).same


def test_without_a_plan_there_is_nothing_to_compare() -> None:
    with pytest.raises(Stale, match="has no plan"):
        with_plan_now(after_the_cut().stages, "auditor", LIFELINES)
