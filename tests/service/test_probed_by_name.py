"""A stage asks by name: the certificate of whoever answers by TLS, and of a resolver that it is no way out."""

from __future__ import annotations

from orchestrator.domain.plan_probes import stage_probes
from orchestrator.domain.planning import conversations
from orchestrator.domain.probes import Probe, Purpose
from orchestrator.domain.questions import Containment
from orchestrator.domain.responders import NEVER_PROBED
from tests.service.reopening import Reopening, after_the_cut, valmont

LIFELINES, MAIL, CARE, IMAGES = "P0-lifelines", "P1-inbound-mail", "P2-care-exchange", "P4-images"
PORTAL, RECORD, OUTSIDE = "portal.valmont.example", "record.valmont.example", "tunnel.example"


def planned(reopening: Reopening, stage: str) -> tuple[Probe, ...]:
    plan = reopening.status(stage).plan
    assert plan is not None
    return plan.probes


def test_a_stage_asks_for_the_certificate_by_its_declared_name() -> None:
    asked = [one for one in planned(after_the_cut(LIFELINES, MAIL, CARE, approved=IMAGES), IMAGES) if one.kind == "tls"]
    partners = {one.vantage for one in asked if one.purpose is Purpose.POSITIVE}
    assert partners == {"sister", "ght-2", "gp", "partners"}
    assert {(one.name, str(one.destination)) for one in asked} == {(PORTAL, "203.0.113.20"), (PORTAL, "2001:db8:20:11::10")}


def test_a_stage_with_another_certificate_behind_it_is_closed_again() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE, approved=IMAGES)
    reopening.hospital.certified["portal"] = "elsewhere.example"
    status = reopening.apply(IMAGES)
    assert status.state == "reverted"
    assert f"certificate is not valid for {PORTAL!r}; it is for elsewhere.example" in status.detail
    assert not reopening.reaches("sister", "203.0.113.20", 443)


def test_a_stage_asks_a_resolver_for_an_answer_a_refusal_and_a_tunnel() -> None:
    asked = [one for one in planned(after_the_cut(approved=LIFELINES), LIFELINES) if one.kind == "dns"]
    assert {(one.dns, one.name, one.purpose) for one in asked if one.vantage == "ws-offices"} == {
        ("resolves", RECORD, Purpose.POSITIVE), ("refused", OUTSIDE, Purpose.POSITIVE), ("tunnels", OUTSIDE, Purpose.NEGATIVE),
    }  # fmt: skip
    assert {one.destination.version for one in asked if one.dns == "tunnels"} == {4, 6}
    assert len({one.id for one in asked}) == len(asked)


def test_a_resolver_that_asks_outside_for_whoever_asks_it_lets_no_stage_open() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    reopening.hospital.forwarding.add("core1")
    status = reopening.apply(LIFELINES)
    assert status.state == "reverted"
    assert "ws-offices → 10.20.30.10 dns/53 should not pass: failed (the query left" in status.detail


def test_no_biomedical_device_is_asked_by_name_whatever_it_declares() -> None:
    site, policy = valmont()
    biomedical = {own.ip for host in site.hosts for leg in host.interfaces if leg.zone in NEVER_PROBED for own in leg.addresses}
    named = site.host("portal").services
    hosts = tuple(one.model_copy(update={"services": named}) if one.name == "biomed" else one for one in site.hosts)
    declaring = site.model_copy(update={"hosts": hosts})
    for stage in policy.stages:
        pairs = conversations(policy, stage, None)
        probes, _ = stage_probes(declaring, policy, pairs, Containment({}))
        assert not {one.destination for one in probes} & biomedical
