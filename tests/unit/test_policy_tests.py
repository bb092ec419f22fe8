"""The policy's own tests: asked where the planner would open, told with a reason when they fail, and they stop a ratification."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.adapters.site_files import read_checked
from orchestrator.cli import main
from orchestrator.domain.expectation_points import Points, needed
from orchestrator.domain.expectation_run import outcomes
from orchestrator.domain.packet_elements import packets_of
from orchestrator.domain.packets import PacketSet
from orchestrator.domain.policy import Policy, Predecessor
from orchestrator.domain.questions import Containment
from orchestrator.domain.ratification import require_sound
from orchestrator.domain.stands import order_of, stands
from orchestrator.errors import Refused
from tests.unit.broken_files import INVENTORY, POLICY, assert_found, copy_files, edit
from tests.unit.broken_files import Broken as B

CASES = (
    B(
        "opened too early",
        "stages.yaml",
        "requires: [{stage: P4-images, open_for: 7d}, {stage: P5-patients-and-payments}]",
        "requires: [{stage: P5-patients-and-payments}]",
        "website-not-before-images:",
        "the test website-not-before-images fails: 198.51.100.10 → 10.20.11.20 tcp/443 passes after P7-public: "
        "the flow website with everyone, opened by P7-public, lets it through fw-ext",
        "open it in a later stage",
        found_in="tests.yaml",
    ),
    B(
        "kept, and nobody wanted it",
        "flows.yaml",
        "    partners: [national-services]\n",
        "    partners: [national-services]\n    decisions: {internet: keep}\n",
        "national-services-wait:",
        "passes right after the cut-off: internet keeps it on fw-ext (national-services)",
        "narrow the flow",
        found_in="tests.yaml",
    ),
    B(
        "a vital flow that is cut",
        "flows.yaml",
        "decisions: {internet: keep, total: cut}",
        "decisions: {internet: cut, total: cut}",
        "samu-hub-is-kept:",
        "is stopped by fw-ext (profile internet) right after the cut-off: it belongs to the flow samu-hub, which P0-lifelines opens",
        "correct the flow",
        found_in="tests.yaml",
    ),
    B(
        "a port that no flow has any more",
        "flows.yaml",
        "services: [tcp/8443]",
        "services: [tcp/8444]",
        "payment-after-p5:",
        "tcp/8443 is stopped by fw-ext (profile internet) after P5-patients-and-payments: no flow of the policy holds it",
        "correct the flow",
        found_in="tests.yaml",
    ),
    B(
        "a denied partner",
        "flows.yaml",
        "    partners: [acquirer]\n",
        "    partners: [acquirer]\n    deny_from: [198.51.100.32/32]\n",
        "payment-after-p5:",
        "the flow payment denies 198.51.100.32/32",
        "correct the flow",
        found_in="tests.yaml",
    ),
    B(
        "a scope that is wider than the promise",
        "profiles.yaml",
        "    layers:\n      vpn: [wan0]\n    scope_zones: [vendors]",
        "    layers:\n      vpn: [offices0]\n    scope_zones: [isp]",
        "vendors-profile-cuts-them:",
        "passes right after the cut-off: no guard of the profile vendors concerns it on its way",
        "narrow the flow",
        found_in="tests.yaml",
    ),
    B(
        "no route",
        "tests.yaml",
        "source: vendor-1, destination: bastion, service: tcp/23",
        "source: 192.0.2.140, destination: bastion, service: tcp/23",
        "vendors-by-one-port-only",
        "cannot be answered: no route of the inventory leads there",
        "correct the routes",
    ),
    B(
        "the same end twice",
        "tests.yaml",
        'destination: "partner:national-services", service: tcp/443, expect: passes',
        "destination: national-services, service: tcp/443, expect: passes",
        "national-services-after-p0",
        "both ends are the same address",
        "`partner:NAME`",
    ),
    B(
        "published nowhere",
        "tests.yaml",
        "source: internet-host, destination: web, service: tcp/443, expect: passes",
        "source: internet-host, destination: web, service: tcp/8080, expect: passes",
        "website-after-p7",
        "reaches nobody: the firewall that translates publishes no such port",
        "publish it",
    ),
    B(
        "unknown source",
        "tests.yaml",
        "source: samu, destination: hub-sante",
        "source: samuu, destination: hub-sante",
        "samu-hub-is-kept",
        "there is no application, partner, host or device 'samuu'",
        "or write an address",
    ),
    B(
        "unknown destination",
        "tests.yaml",
        "source: samu, destination: hub-sante",
        "source: samu, destination: hub-sant",
        "samu-hub-is-kept",
        "there is no application, partner, host or device 'hub-sant'",
        "or write an address",
    ),
    B(
        "an address of nobody's network",
        "tests.yaml",
        "source: samu, destination: hub-sante",
        "source: samu, destination: 10.20.250.10",
        "samu-hub-is-kept",
        "is in the management network",
        "another zone",
    ),
    B(
        "a range of ports",
        "tests.yaml",
        "service: tcp/5671, expect: passes}",
        "service: tcp/5671-5672, expect: passes}",
        "samu-hub-is-kept",
        "one packet has one destination port",
        "tcp/5671",
    ),
    B(
        "after the lift",
        "tests.yaml",
        "service: tcp/25, expect: blocked, until: P1-inbound-mail",
        "service: tcp/25, expect: blocked, after: [P8-lift]",
        "mail-in-waits",
        "passes after P8-lift: the layer is lifted",
        "correct the test",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_failing_test_says_where_and_why(case: B, tmp_path: Path) -> None:
    assert_found(case, tmp_path)


def test_the_tests_of_the_hospital_hold_and_cover_every_stage() -> None:
    site, policy = read_inventory(INVENTORY).site, read_policy(POLICY).policy
    asked = list(outcomes(site, policy))
    assert [outcome for outcome in asked if not outcome.passed] == []
    assert len(asked) >= 150
    assert all(outcome.asked > 0 for outcome in asked)
    for stage in policy.stages:
        if not stage.lifts:
            assert any(test.until == stage.name and test.expect == "blocked" for test in policy.tests), stage.name
            assert any(stage.name in test.after and test.expect == "passes" for test in policy.tests), stage.name
    assert {test.profile or policy.default_profile for test in policy.tests} == {profile.name for profile in policy.profiles}


def _passing(lies: Containment, device: str) -> PacketSet:
    kept = [element for layer in lies.layers[device] for element in layer.keep]
    return packets_of([*lies.opened.get(device, ()), *kept])


@pytest.mark.parametrize("profile", ["internet", "total", "vendors"])
def test_what_is_open_at_a_point_is_what_the_planner_plans(profile: str) -> None:
    site, policy = read_inventory(INVENTORY).site, read_policy(POLICY).policy
    points = Points(site, policy)
    for stage in policy.stages:
        if stage.lifts:
            continue
        (point,) = points.asked((stage.name,), None)
        ours = points.at(profile, point)
        closure = [name for name in order_of(policy) if name in needed(policy, (stage.name,))]
        planned = stands(site, policy, profile, closure)[-1]
        assert ours.refused is None
        assert set(ours.containment.layers) == set(planned.containment.layers)
        for device in ours.containment.layers:
            assert _passing(ours.containment, device) == _passing(planned.containment, device), f"{device} after {stage.name}"
            assert set(ours.containment.released.get(device, ())) == set(planned.containment.released.get(device, ()))


def test_a_requirement_confined_to_some_flows_holds_back_these_alone() -> None:
    policy = read_policy(POLICY).policy
    stages = []
    for stage in policy.stages:
        if stage.name == "P5-patients-and-payments":
            confined = Predecessor(stage="P4-images", flows=("outside-labs",))
            stage = stage.model_copy(update={"requires": (*stage.requires, confined)})
        stages.append(stage)
    changed: Policy = policy.model_copy(update={"stages": tuple(stages)})
    asked = Points(read_inventory(INVENTORY).site, changed).asked((), "P4-images")
    opened = {item.stage: item.flows for item in asked[-1]}
    assert opened["P5-patients-and-payments"] == ("sms", "payment")
    assert "P7-public" not in opened
    assert [len(point) for point in asked] == list(range(len(asked)))


def test_a_policy_with_a_failing_test_is_not_ratified(tmp_path: Path) -> None:
    inventory, policy = copy_files(tmp_path)
    edit(policy / "tests.yaml", "expect: passes}", "expect: blocked}")
    site, read = read_inventory(inventory).site, read_policy(policy).policy
    with pytest.raises(Refused) as refused:
        require_sound(site, read)
    assert refused.value.rule == "policy-findings"
    assert "the test samu-hub-is-kept fails" in str(refused.value)
    assert read_checked(inventory, policy, untested=True).policy == read


def test_the_command_says_how_many_passed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inventory, policy = copy_files(tmp_path)
    count = len(read_policy(policy).policy.tests)
    options = ["policy", "check", "--inventory", str(inventory), "--policy", str(policy)]
    assert main(options) == 0
    assert f"{count} tests of the policy passed" in capsys.readouterr().out
    assert main([*options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tests"] == {"declared": count, "passed": count}
    edit(policy / "tests.yaml", "expect: passes}", "expect: blocked}")
    assert main(options) == 3
    assert f"{count - 1} of {count} tests of the policy passed" in capsys.readouterr().out
    assert main([*options, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["tests"] == {"declared": count, "passed": count - 1}
