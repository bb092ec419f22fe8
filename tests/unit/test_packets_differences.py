"""Differences of policies, plans and read-backs, on the site that is small enough to check by hand."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from orchestrator.domain.differences import (
    allowed_by,
    between_devices,
    between_elements,
    between_plans,
    between_policies,
    from_plan_to_device,
    stage_by_stage,
)
from orchestrator.domain.layer import Element, Observed
from orchestrator.domain.packet_elements import packets_of
from orchestrator.domain.plan import Plan
from orchestrator.domain.planning import plan_stage
from orchestrator.domain.policy import Policy
from orchestrator.errors import Refused
from tests.unit.hand_made import SITE, flow, laid, partner, policy, stage
from tests.unit.test_planning import render


def planned(chosen: Policy) -> Plan:
    return plan_stage(
        SITE,
        chosen,
        chosen.stages[0],
        layers_in_force=laid(chosen, "all"),
        already_open={},
        policy_digest="p",
        inventory_digest="i",
        render=render,
    )


def element(source: str, destination: str, ports: tuple[int, int] = (443, 443)) -> Element:
    return Element(source=ip_network(source), destination=ip_network(destination), protocol=6, ports=ports)


def test_a_policy_allows_its_flows_in_their_direction_and_family() -> None:
    ping = flow("ping", services=["icmp"], direction="out")
    assert [box.describe() for box in allowed_by(policy(ping, stages=(stage("ping"),))).readable()] == [
        "10.1.0.10/32 → 198.51.100.50/32 icmp (out)",
        "2001:db8:10::10/128 → 2001:db8:100::50/128 icmpv6 (out)",
    ]


def test_what_is_denied_inside_a_flow_is_not_allowed() -> None:
    open_to_all = flow(partners=["all"], addresses=["10.1.0.10"], deny_from=["128.0.0.0/1"])
    assert [box.describe() for box in allowed_by(policy(open_to_all, stages=(stage("flow"),))).readable()] == [
        "0.0.0.0/1 → 10.1.0.10/32 tcp/443 (in)"
    ]


def test_two_policies_differ_in_what_their_stages_open() -> None:
    before = policy(flow(), flow("late", services=["tcp/22"]), stages=(stage("flow"), stage("late", name="S2")))
    after = policy(flow(), flow("late", services=["tcp/22-23"]), stages=(stage("flow"), stage("late", name="S2")))
    assert not between_policies(before, before)
    assert not between_policies(before, after, ("S1",))
    assert between_policies(before, after).describe() == (
        "+ 198.51.100.50/32 → 10.1.0.10/32 tcp/23 (in)",
        "+ 2001:db8:100::50/128 → 2001:db8:10::10/128 tcp/23 (in)",
    )
    assert stage_by_stage(before, after) == {"S2": between_policies(before, after)}


def test_the_same_policy_in_other_words_does_not_differ() -> None:
    halves = [partner(), partner("all", "0.0.0.0/1", "128.0.0.0/1", "::/0"), partner("nobody", "198.51.100.200/32")]
    before = policy(flow(partners=["all"], services=["tcp/80-81"]), stages=(stage("flow"),))
    after = policy(flow(partners=["all", "far"], services=["tcp/81", "tcp/80"]), stages=(stage("flow"),), partners=halves)
    assert not between_policies(before, after)


def test_a_stage_confined_to_some_partners_allows_those_only() -> None:
    both = flow(partners=["far", "nobody"], addresses=["10.1.0.10"])
    wide, narrow = policy(both, stages=(stage("flow"),)), policy(both, stages=(stage("flow", partners=["far"]),))
    assert between_policies(wide, narrow).describe() == ("- 198.51.100.200/32 → 10.1.0.10/32 tcp/443 (in)",)


def test_two_plans_differ_per_device_as_that_device_sees_it() -> None:
    before = planned(policy(flow(addresses=["10.1.0.10"]), stages=(stage("flow"),)))
    after = planned(policy(flow(addresses=["10.1.0.10"], partners=["far", "nobody"]), stages=(stage("flow"),)))
    assert between_plans(before, before) == {}
    assert {device: found.describe() for device, found in between_plans(before, after).items()} == {
        "inner": ("+ 198.51.100.200/32 → 10.1.0.10/32 tcp/443",),
        "outer": ("+ 198.51.100.200/32 → 203.0.113.34/32 tcp/8443",),
    }


def test_a_device_that_holds_what_was_planned_does_not_differ_however_it_is_cut() -> None:
    plan = planned(policy(flow(partners=["all"]), stages=(stage("flow"),)))
    wanted = {item.device: item.change.elements for item in plan.devices}
    quarters = tuple(item.model_copy(update={"source": part}) for item in wanted["inner"] for part in item.source.subnets(prefixlen_diff=2))
    observed = {"inner": Observed(present=True, opened=quarters), "outer": Observed(present=True, opened=wanted["outer"])}
    assert from_plan_to_device(plan, observed, {}) == {}


def test_a_device_that_holds_too_much_or_too_little_says_in_which_packets() -> None:
    plan = planned(policy(flow(addresses=["10.1.0.10"]), stages=(stage("flow"),)))
    wanted = {item.device: item.change.elements for item in plan.devices}
    earlier, stray = element("192.0.2.1/32", "10.1.0.10/32"), element("198.51.100.0/24", "10.1.0.10/32", (22, 22))
    observed = {
        "inner": Observed(present=True, opened=(*wanted["inner"], earlier, stray)),
        "outer": Observed(present=True, opened=()),
    }
    found = from_plan_to_device(plan, observed, {"inner": (earlier,)})
    assert found["inner"].describe() == ("+ 198.51.100.0/24 → 10.1.0.10/32 tcp/22",)
    assert found["outer"].describe() == ("- 198.51.100.50/32 → 203.0.113.34/32 tcp/8443",)
    assert between_devices("inner", observed["inner"], Observed(present=True, opened=(stray,))) == between_elements(
        (*wanted["inner"], earlier), ()
    )


def test_lines_that_nobody_models_are_refused_and_not_ignored() -> None:
    plan = planned(policy(flow(), stages=(stage("flow"),)))
    with pytest.raises(Refused, match="meta skuid 0 accept") as refusal:
        from_plan_to_device(plan, {"inner": Observed(present=True, foreign=("meta skuid 0 accept",))}, {})
    assert refusal.value.rule == "not-modelled"


def test_what_a_difference_says_is_what_the_sets_say() -> None:
    before, after = [element("198.51.100.0/24", "10.1.0.0/28")], [element("198.51.100.0/25", "10.1.0.0/27")]
    found = between_elements(before, after)
    assert found.appears == packets_of(after) - packets_of(before)
    assert found.disappears == packets_of(before) - packets_of(after)
