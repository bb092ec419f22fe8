"""A stage's `checks` on live traffic: asked as they were written, refused beforehand when the stage itself contradicts them."""

from __future__ import annotations

from functools import cache

import pytest

from orchestrator.domain.check_probes import check_probes
from orchestrator.domain.layer import Element, ordered
from orchestrator.domain.network import Site
from orchestrator.domain.packet_ends import packets_between
from orchestrator.domain.packet_ways import way_of_packet
from orchestrator.domain.policy import Policy
from orchestrator.domain.probes import Probe, Purpose
from orchestrator.domain.profiles import layers_of
from orchestrator.domain.questions import Containment
from orchestrator.domain.stands import order_of, stands
from orchestrator.errors import Refused
from tests.service.reopening import valmont

IMAGES = "P4-images"


@cache
def after_images() -> tuple[Site, Policy, Containment]:
    site, policy = valmont()
    known = {stand.after: stand.containment for stand in stands(site, policy, "internet", order_of(policy))}
    return site, policy, known[IMAGES]


def with_checks(*names: str) -> tuple[tuple[Probe, ...], tuple[str, ...]]:
    site, policy, after = after_images()
    return check_probes(site, policy, policy.stage(IMAGES).model_copy(update={"checks": names}), after)


def test_what_should_be_blocked_is_asked_from_outside_in_both_families() -> None:
    site, policy, after = after_images()
    probes, unasked = check_probes(site, policy, policy.stage(IMAGES).model_copy(update={"checks": ("website-waits",)}), after)
    assert {probe.purpose for probe in probes} == {Purpose.NEGATIVE}
    assert {probe.destination.version for probe in probes} == {4, 6}
    assert {probe.about for probe in probes} == {"website-waits"}
    assert unasked == ()


def test_what_should_pass_is_asked_to_pass() -> None:
    probes, _ = with_checks("samu-hub-is-kept")
    assert {probe.purpose for probe in probes} == {Purpose.POSITIVE}


def test_what_nobody_can_ask_is_told() -> None:
    probes, unasked = with_checks("blood-esp-is-kept")
    assert probes == ()
    assert all("no vantage point can ask it" in line for line in unasked)
    assert unasked


def test_a_partner_that_is_left_out_is_told_and_not_asked_to_pass() -> None:
    site, policy, _ = after_images()
    cut = Containment({layer.device: (layer,) for layer in layers_of(site, policy, "internet")})
    stage = policy.stage(IMAGES).model_copy(update={"checks": ("portal-for-gps",)})
    probes, unasked = check_probes(site, policy, stage, cut)
    assert probes == ()
    assert all("its partner is not in this plan" in line for line in unasked)


def test_a_stage_that_lets_pass_what_its_check_wants_blocked_cannot_be_planned() -> None:
    """As if somebody had opened the web site on every firewall on the way."""
    site, policy, after = after_images()
    test = next(test for test in policy.tests if test.name == "website-waits")
    elements: dict[str, tuple[Element, ...]] = {name: tuple(held) for name, held in after.opened.items()}
    for packet in packets_between(site, policy, test.source, test.destination, test.service):
        way = way_of_packet(site, packet)
        assert way is not None
        for device, sights in way.sights.items():
            elements[device] = ordered((*elements.get(device, ()), *sights))
    opened = Containment(after.layers, elements, after.released)
    with pytest.raises(Refused, match="would let pass what its check website-waits wants blocked") as refusal:
        check_probes(site, policy, policy.stage(IMAGES).model_copy(update={"checks": ("website-waits",)}), opened)
    assert refusal.value.rule == "check-contradicted"
