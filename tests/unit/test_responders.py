"""Only declared responders are asked; a biomedical device never is, whoever plans it."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.domain.network import Service, Site
from orchestrator.domain.plan_probes import positive
from orchestrator.domain.probes import Probe
from orchestrator.domain.questions import ICMP, answer_kind, answer_name, single
from orchestrator.domain.responders import require_responder
from orchestrator.errors import PolicyError, Refused

BIOMED = "10.20.27.10"
ROOT = Path(__file__).parents[2]
INVENTORY = ROOT / "inventory/valmont.yml"


@pytest.fixture(scope="module")
def site() -> Site:
    return read_inventory(INVENTORY).site


def probe(destination: str, port: int | None = None, kind: Any = "tcp", **more: Any) -> Probe:
    return Probe(id="p", purpose="positive", vantage="emergency", destination=ip_address(destination), kind=kind, port=port, **more)


@pytest.mark.parametrize(
    "asked",
    [
        probe("10.20.11.10", 443), probe("203.0.113.20", 443, "http"), probe("2001:db8:20:22::10", 104), probe("10.20.30.10", 53, "udp"),
        probe("10.20.30.10", 53, "dns", name="record.valmont.example"), probe("10.20.11.10", 443, "tls", name="portal.valmont.example"),
        probe("10.20.21.10", kind="icmp"), probe("10.20.21.1", kind="icmp"), probe("203.0.113.3", 8022),
    ],
)  # fmt: skip
def test_who_declares_an_answer_is_asked(site: Site, asked: Probe) -> None:
    require_responder(site, asked)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (probe(BIOMED, 104), "biomed (10.20.27.10, zone biomedical) is never probed"),
        (probe(BIOMED, kind="icmp"), "biomed (10.20.27.10, zone biomedical) is never probed"),
        (probe("10.20.27.99", 80), "10.20.27.99 is never probed"),
        (probe("2001:db8:20:27::10", 443, "tls", name="pump.example"), "is never probed"),
        (probe("10.20.11.10", 22), "portal (10.20.11.10, zone dmz-in) does not declare that it answers tcp/22"),
        (probe("10.20.11.10", 443, "udp"), "does not declare that it answers udp/443"),
        (probe("203.0.113.20", 80), "nobody in the inventory has 203.0.113.20"),
        (probe("10.20.23.50", kind="icmp"), "ws-lab (10.20.23.50, zone lab) does not declare that it answers icmp"),
        (probe("198.51.100.77", 443), "nobody in the inventory has 198.51.100.77"),
    ],
)
def test_nobody_else_is_and_the_refusal_names_them(site: Site, asked: Probe, named: str) -> None:
    with pytest.raises(Refused) as refused:
        require_responder(site, asked)
    assert refused.value.rule == "not-a-responder"
    assert named in str(refused.value)


def test_a_biomedical_device_is_not_asked_even_where_it_declares_an_answer(site: Site) -> None:
    declaring = site.model_copy(
        update={
            "hosts": tuple(
                host.model_copy(update={"services": (Service(kind="tcp", port=104),)}) if host.name == "biomed" else host
                for host in site.hosts
            )
        }
    )
    assert answer_kind(declaring, ip_address(BIOMED), single(6, 104)) is None
    assert answer_kind(declaring, ip_address(BIOMED), ICMP) is None
    with pytest.raises(Refused, match="never probed"):
        require_responder(declaring, probe(BIOMED, 104))


def test_a_published_way_to_a_biomedical_device_is_seen_through(site: Site) -> None:
    def leading_inside(device: Any) -> Any:
        published = tuple(one.model_copy(update={"to": ip_address(BIOMED)}) for one in device.nat.published)
        return device.model_copy(update={"nat": device.nat.model_copy(update={"published": published})})

    changed = site.model_copy(update={"devices": tuple(leading_inside(device) for device in site.devices)})
    with pytest.raises(Refused, match="never probed"):
        require_responder(changed, probe("203.0.113.20", 443, "http"))


def test_a_declared_certificate_or_resolver_is_asked_for_by_its_name() -> None:
    site, policy = read_inventory(INVENTORY).site, read_policy(ROOT / "policies/valmont").policy
    probes = [
        asked for flow in policy.flows for name in flow.partners for _, asked, _ in positive(site, flow, policy.partner(name)) if asked
    ]
    assert {(one.name, one.port) for one in probes if one.kind == "tls"} == {("portal.valmont.example", 443)}
    resolver = ip_address("10.20.30.10")
    assert (answer_kind(site, resolver, single(17, 53)), answer_name(site, resolver, single(17, 53))) == ("dns", "record.valmont.example")
    assert answer_kind(site, resolver, single(6, 53)) == "tcp"


@pytest.mark.parametrize("declared", ["tls/443", "dns/53", "tcp/443/portal.example", "smtp/25", "tls/443/portal.example/outside.example"])
def test_a_name_is_declared_where_it_means_something(tmp_path: Path, declared: str) -> None:
    changed = tmp_path / "valmont.yml"
    changed.write_text(INVENTORY.read_text(encoding="utf-8").replace("services: [tcp/22]", f"services: [{declared}]"))
    with pytest.raises(PolicyError, match="services"):
        read_inventory(changed)
