"""One packet explained: the way, the guards, the flow and the stage; on the hand-made site, where all can be checked by eye."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.explaining import Explanation, Source, explain
from orchestrator.domain.packet_ends import packets_between, service_text
from orchestrator.domain.policy import Policy
from orchestrator.domain.services import FlowService
from orchestrator.domain.stands import order_of, stands, up_to
from orchestrator.errors import InputError, UnknownName, UsageError
from tests.unit.hand_made import SITE, flow, policy, stage

HTTPS = FlowService(protocol=6, ports=(443, 443))


def explained(chosen: Policy, source: str, destination: str, service: FlowService = HTTPS, profile: str = "all") -> list[Explanation]:
    at = stands(SITE, chosen, profile, order_of(chosen))
    return [explain(SITE, chosen, profile, packet, at) for packet in packets_between(SITE, chosen, source, destination, service)]


def verdicts(item: Explanation) -> list[tuple[str | None, str | None]]:
    return [(verdict.after, verdict.device) for verdict in item.verdicts]


def one(chosen: Policy, source: str, destination: str, **more: Any) -> Explanation:
    (found,) = explained(chosen, source, destination, **more)
    return found


def opened() -> Policy:
    return policy(flow(), stages=(stage("flow"),))


# --- ways, and what each device sees --------------------------------------------------------------------------------


def test_each_device_sees_the_packet_before_or_after_the_translation() -> None:
    item = one(opened(), "198.51.100.50", "10.1.0.10")
    assert [(step.device, step.enters, step.leaves) for step in item.steps] == [
        ("rtr", "up0", "edge0"),
        ("outer", "wan0", "mid0"),
        ("inner", "mid0", "lan0"),
    ]
    seen = [[f"{element.destination} {element.ports}" for element in step.sees] for step in item.steps]
    assert seen == [["203.0.113.34/32 (8443, 8443)"], ["203.0.113.34/32 (8443, 8443)"], ["10.1.0.10/32 (443, 443)"]]
    assert item.enforced_by == ("outer", "inner")


def test_a_packet_that_goes_out_is_told_from_inside_to_outside_with_its_translated_source() -> None:
    item = one(opened(), "10.1.0.10", "198.51.100.50")
    assert (item.steps[0].device, item.steps[0].enters, item.steps[0].leaves) == ("inner", "lan0", "mid0")
    assert [str(step.sees[0].source) for step in item.steps] == ["10.1.0.10/32", "203.0.113.34/32", "203.0.113.34/32"]
    assert verdicts(item)[0] == (None, "inner")  # the first that it meets, not the first from outside


def test_a_published_address_is_the_application_behind_it() -> None:
    by_name = one(opened(), "198.51.100.50", "203.0.113.34", service=FlowService(protocol=6, ports=(8443, 8443)))
    assert by_name.packet.published is not None
    assert (str(by_name.packet.destination.address), service_text(by_name.packet.service)) == ("10.1.0.10", "tcp/443")
    assert verdicts(by_name) == verdicts(one(opened(), "198.51.100.50", "10.1.0.10"))


def test_what_nobody_publishes_cannot_be_addressed_from_outside() -> None:
    ssh = FlowService(protocol=6, ports=(22, 22))
    assert one(opened(), "198.51.100.50", "10.1.0.10", service=ssh).unpublished
    assert not one(opened(), "2001:db8:100::50", "2001:db8:10::10", service=ssh).unpublished


def test_a_name_stands_for_both_families() -> None:
    assert [item.packet.source.address.version for item in explained(opened(), "far", "app")] == [4, 6]


# --- the guards, and what they are opened for -----------------------------------------------------------------------


def test_every_guard_says_what_it_does_and_what_for() -> None:
    item = one(opened(), "198.51.100.50", "10.1.0.10")
    cut, after = item.verdicts[0].guards, item.verdicts[1].guards
    assert [(guard.device, guard.does) for guard in cut] == [("rtr", "closed"), ("outer", "stops"), ("inner", "stops")]
    assert [(guard.device, guard.does) for guard in after] == [("rtr", "released"), ("outer", "opened"), ("inner", "opened")]
    assert after[1].by == Source("S1", "flow", "far")
    assert after[1].element is not None
    assert str(after[1].element.destination) == "203.0.113.34/32"
    assert item.opened_by == item.verdicts[1].after


def test_a_denied_part_of_a_partner_is_told_by_name_and_stays_blocked() -> None:
    chosen = policy(flow(partners=["all"], deny_from=["198.51.100.0/25"]), stages=(stage("flow"),))
    item = one(chosen, "198.51.100.50", "10.1.0.10")
    (told,) = item.declared
    assert (told.flow, str(told.denied)) == ("flow", "198.51.100.0/25")
    assert [verdict.passes for verdict in item.verdicts] == [False, False]
    beside = one(chosen, "198.51.100.200", "10.1.0.10")
    assert beside.declared[0].denied is None
    assert [verdict.passes for verdict in beside.verdicts] == [False, True]


def test_a_kept_flow_passes_from_the_cut_on_and_says_what_keeps_it() -> None:
    kept = flow(decisions={"narrow": "keep"})
    chosen = policy(kept, stages=(stage("flow"),), profiles={"narrow": {"layers": {"inner": ["mid0"]}}})
    item = one(chosen, "198.51.100.50", "10.1.0.10", profile="narrow")
    assert [verdict.passes for verdict in item.verdicts] == [True, True]
    assert [(guard.does, guard.by) for guard in item.verdicts[0].guards] == [("keeps", "flow")]
    assert item.declared[0].kept
    assert item.opened_by is None


def test_what_nothing_declares_is_blocked_at_every_stage() -> None:
    item = one(opened(), "198.51.100.77", "10.1.0.10")
    assert item.declared == ()
    assert [verdict.passes for verdict in item.verdicts] == [False, False]


def test_a_profile_that_guards_nothing_on_the_way_is_said_to() -> None:
    chosen = policy(flow(), stages=(stage("flow"),), profiles={"all": {"layers": {"back": ["lte0"]}}})
    item = one(chosen, "198.51.100.50", "10.1.0.10")
    assert not item.is_guarded
    assert all(verdict.passes for verdict in item.verdicts)
    assert item.opened_by is None


def test_a_conversation_that_crosses_no_device_at_all_has_no_enforcer() -> None:
    for item in explained(opened(), "app", "desk"):
        assert (item.packet.direction, item.enforced_by, item.is_guarded) == ("inside", (), False)


def test_a_packet_outside_the_scope_of_a_layer_passes_it() -> None:
    scoped = {"all": {"layers": {"outer": ["wan0"]}, "scope_zones": ["mid"]}}
    chosen = policy(flow(), stages=(stage("flow"),), profiles=scoped)
    item = one(chosen, "2001:db8:100::50", "2001:db8:10::10")
    assert [guard.does for guard in item.verdicts[0].guards] == ["out-of-scope"]
    assert item.verdicts[0].passes


def test_a_stage_that_the_planner_refuses_opens_nothing_and_says_so() -> None:
    only_router = {"all": {"layers": {"rtr": ["up0"]}}}
    chosen = policy(flow(), stages=(stage("flow"),), profiles=only_router)
    item = one(chosen, "198.51.100.50", "10.1.0.10")
    assert [verdict.passes for verdict in item.verdicts] == [False, False]
    assert item.verdicts[1].refused is not None
    assert item.verdicts[1].refused.rule == "coarse-behind-flow"


def test_lifting_leaves_nothing_of_ours() -> None:
    lift = stage(lifts=True).model_copy(update={"name": "P1-lift"})
    chosen = policy(flow(), stages=(stage("flow"), lift))
    item = one(chosen, "198.51.100.77", "10.1.0.10")
    assert [(verdict.passes, verdict.lifted) for verdict in item.verdicts] == [(False, False), (False, False), (True, True)]
    assert item.opened_by is None


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "destination", "service", "error", "says"),
    [
        ("nosuch", "app", HTTPS, UnknownName, "nosuch"),
        ("device:far", "app", HTTPS, UnknownName, "far"),
        ("198.51.100.50", "198.51.100.60", HTTPS, InputError, "meets this site"),
        ("198.51.100.50", "2001:db8:10::10", HTTPS, InputError, "family"),
        ("198.51.100.50", "10.9.0.1", HTTPS, InputError, "management"),
        ("far", "app", FlowService(protocol=6, ports=(1, 9)), UsageError, "one destination port"),
    ],
)
def test_questions_that_are_no_packet_are_refused_with_advice(
    source: str, destination: str, service: FlowService, error: type[InputError], says: str
) -> None:
    with pytest.raises(error, match=says) as refusal:
        packets_between(SITE, opened(), source, destination, service)
    assert refusal.value.advice


def test_the_order_puts_every_stage_after_those_that_it_requires() -> None:
    late = stage("flow", requires=[{"stage": "P1-second"}])
    chosen = policy(flow(), stages=(late, stage().model_copy(update={"name": "P1-second"})))
    assert order_of(chosen) == ("P1-second", late.name)
    assert up_to(chosen, "P1-second") == ("P1-second",)
    with pytest.raises(UnknownName, match="P9"):
        up_to(chosen, "P9-none")
