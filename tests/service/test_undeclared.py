"""A device that holds something of ours stays in the inventory; where one was ratified without it, the others are closed all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.adapters import sshsig
from orchestrator.domain.events import EventType as E
from orchestrator.domain.network import Site
from orchestrator.domain.policy import Policy
from orchestrator.domain.ratification import NAMESPACE, ratification_statement
from orchestrator.errors import Refused
from orchestrator.service.fencing import raise_and_fence, without_fence
from orchestrator.service.ratify import ratify, statement_now
from tests.service.reopening import Reopening, after_the_cut, key_of, valmont
from tests.service.test_execution import LIFELINES, held
from tests.service.test_ratify import ENOUGH, Desk
from tests.service.test_recovery import dies_while, recovered, recovers
from tests.service.test_reisolation import reisolate

GONE = "rtr-isp"


def renamed() -> tuple[Site, Policy]:
    """The same hospital; one of its devices is called something else everywhere."""
    site, policy = (model.model_dump_json().replace(f'"{GONE}"', '"rtr-isp-new"') for model in valmont())
    return Site.model_validate_json(site), Policy.model_validate_json(policy)


def ratified_without_it(*opened: str) -> Reopening:
    """As in a log of before that was refused."""
    reopening = after_the_cut(*opened)
    assert opened == () or GONE in {device.name for device in reopening.stages.state().devices.values() if device.releases}
    reopening.site, reopening.policy = renamed()
    reopening.ratify()
    return reopening


def test_an_inventory_without_a_device_that_holds_a_layer_is_refused_before_and_after_it_is_signed(tmp_path: Path) -> None:
    site, policy = renamed()
    desk = Desk(tmp_path)
    text = statement_now(desk.around, site, policy)  # nothing is cut yet: it is a sound policy
    desk.log = after_the_cut().log
    with pytest.raises(Refused) as early:
        statement_now(desk.around, site, policy)
    text = ratification_statement(site, policy, desk.allowed_signers, desk.log.head())
    made = {person: sshsig.sign(key_of(person), NAMESPACE, text.encode()) for person in ENOUGH}
    size = desk.log.head().size
    with pytest.raises(Refused) as late:
        ratify(desk.around, site, policy, signatures=made, statement=text, actor="rssi")
    assert early.value.rule == late.value.rule == "device-holds-a-layer"
    assert GONE in str(late.value)
    assert desk.log.head().size == size


def test_closing_goes_on_with_the_others_says_it_and_ends_once_it_is_declared_again() -> None:
    before = held(after_the_cut())
    reopening = ratified_without_it(LIFELINES)
    reopening.stages.revert("rssi", LIFELINES, "an indicator of compromise")
    assert reopening.stages.runner.wait(10)
    assert reopening.stages.runner.failures == []
    status = reopening.status(LIFELINES)
    assert status.state == "failed"
    assert f"{GONE}: the ratified inventory has no device of this name" in status.detail
    now = held(reopening)
    assert {name for name in now if now[name] != before[name]} == {GONE}, "everywhere else it is closed"
    reopening.stages.runner.unknown.turn()
    assert reopening.stages.runner.wait(10)
    assert reopening.stages.runner.failures == []
    told = [event for event in reopening.log.read() if event.type is E.DEVICE_STILL_UNKNOWN]
    assert [(event.device, "ratified inventory" in event.body["why"]) for event in told] == [(GONE, True)]
    reopening.site, reopening.policy = valmont()
    reopening.ratify()
    reopening.clock.wait(3600)
    reopening.stages.runner.unknown.turn()
    assert reopening.stages.runner.wait(10)
    assert reopening.status(LIFELINES).state == "reverted"
    assert held(reopening) == before


def test_a_fence_reaches_all_the_others_and_says_which_one_it_does_not() -> None:
    reopening = ratified_without_it()
    stages = reopening.stages
    names = [device.name for device in stages.state().devices.values() if device.slots]
    missing = raise_and_fence(stages.collaborators, stages.journal, names, why="unknown")
    assert set(missing) == {GONE}
    epoch = stages.state().epoch
    assert {name for name in names if reopening.hospital.machines[name].epoch == epoch} == {*names} - {GONE}


def test_after_a_death_in_the_middle_of_laying_the_others_are_read_and_closed() -> None:
    before = held(after_the_cut())
    reopening = after_the_cut(approved=LIFELINES)
    dies_while(reopening, "open", after=True, nth=2)
    assert GONE in {device.name for device in reopening.stages.state().devices.values() if device.pending}
    reopening.site, reopening.policy = renamed()
    reopening.ratify()
    recovers(reopening)
    assert reopening.status(LIFELINES).state == "failed"
    now = held(reopening)
    assert {name for name in now if now[name] != before[name]} <= {GONE}
    (event,) = recovered(reopening)
    assert any("ratified inventory has no device" in text for text in event.body["did"])


def test_a_re_isolation_closes_and_fences_the_others_and_goes_on_owing_it() -> None:
    reopening = ratified_without_it(LIFELINES)
    partner = reopening.policy.flow(reopening.policy.stage(LIFELINES).flows[0]).partners[0]
    reisolate(reopening, "partner", partner)
    state = reopening.stages.state()
    assert without_fence(state) == (GONE,)
    told = {one.device: one.detail for one in reopening.stages.reisolating.subtracting.give()}
    assert "ratified inventory" in told.pop(GONE)
    assert set(told.values()) <= {""}
