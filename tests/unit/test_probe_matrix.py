"""The probe matrix of Valmont: what it asks, and that each stage turns exactly the cells of the flows that it names.

Which cells those are is read from the policy by `packets` of the stage differences: sets of packets, made by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from orchestrator.domain.network import Address
from orchestrator.domain.packets import PacketSet
from orchestrator.domain.probe_matrix import Cell, computed, disagreements, expected, matrix
from orchestrator.domain.profiles import layers_of
from orchestrator.domain.questions import Containment
from tests.unit.test_stage_differences import OPENING, UNCUT, history, named, packets, valmont

PROTOCOLS = {"tcp": 6, "http": 6, "tls": 6, "udp": 17, "dns": 17, "icmp": 1}


@cache
def cells() -> tuple[Cell, ...]:
    return matrix(*valmont())


def stages(profile: str) -> Iterator[tuple[str, Containment, Containment]]:
    """Each stage after this cut-off: its name, what lies on the devices before it and after it."""
    now = Containment({layer.device: (layer,) for layer in layers_of(*valmont(), profile)})
    for plan in history(profile):
        changes = {item.device: item.change for item in plan.devices}
        opened = {name: (*now.opened.get(name, ()), *(changes[name].elements if name in changes else ())) for name in now.layers}
        released = {name: {*now.released.get(name, ()), *(changes[name].releases if name in changes else ())} for name in now.layers}
        then = Containment(now.layers, opened, released)
        yield plan.stage, now, then
        now = then


def in_own_addresses(cell: Cell) -> tuple[Address, Address, int, int]:
    """Source, destination, protocol and port behind the translation, if one publishes the target."""
    site, _ = valmont()
    probe = cell.probe
    assert probe.source is not None
    behind: dict[tuple[Address, str, int], tuple[Address, int]] = {
        (item.public, item.protocol, item.port): (item.to, item.to_port) for device in site.devices for item in device.nat.published
    }
    transport = "udp" if PROTOCOLS[probe.kind] == 17 else "tcp"
    target, port = behind.get((probe.destination, transport, probe.port or 0), (probe.destination, probe.port or 0))
    return probe.source, target, PROTOCOLS[probe.kind], port


def belongs(cell: Cell, flows: PacketSet) -> bool:
    source, target, protocol, port = in_own_addresses(cell)
    return flows.contains(source, target, 58 if protocol == 1 and target.version == 6 else protocol, port)


def test_it_asks_every_zone_for_every_declared_service_in_both_families() -> None:
    site, _ = valmont()
    assert len(cells()) >= 300
    assert len({cell.probe.id for cell in cells()}) == len(cells())
    external = {zone.name for zone in site.zones if zone.is_external}
    asking = {interface.zone for host in site.hosts if host.is_vantage_point for interface in host.interfaces} - {"admin"}
    for version in (4, 6):
        asked = [cell for cell in cells() if cell.probe.destination.version == version]
        assert {cell.side for cell in asked} == {"out", "in", "inside", "device"}
        for zone in asking:
            reached = {cell.to_zone for cell in asked if cell.from_zone == zone}
            if zone in external:
                assert {"dmz-in", "dmz-out", "care", "imaging", "lab", "core", "telephony", "backup", "offices"} <= reached
            else:
                assert {"internet", "ght", "vendors", "care", "imaging", "dental", "cardiology", "dmz-in"} - {zone} <= reached
        inside = {(zone, service.transport, service.port) for host in site.hosts for zone in {
            interface.zone for interface in host.interfaces} - external - {"admin"} for service in host.services}  # fmt: skip
        directly = {
            (cell.to_zone, "udp" if PROTOCOLS[cell.probe.kind] == 17 else "tcp", cell.probe.port) for cell in asked if cell.side == "in"
        }
        assert inside <= directly
    published = {str(cell.probe.destination) for cell in cells() if cell.side == "in"}
    assert {str(item.public) for device in site.devices for item in device.nat.published} <= published


def test_only_biomedical_devices_are_never_asked() -> None:
    site, _ = valmont()
    inside = {zone.name for zone in site.zones if not zone.is_external and zone.name != "admin"}
    assert inside - {cell.to_zone for cell in cells()} == {"biomedical"}


@pytest.mark.parametrize("profile", ["total", "internet"])
def test_every_stage_turns_exactly_the_cells_of_its_own_flows(profile: str) -> None:
    _, policy = valmont()
    turned_in_all = 0
    for stage, before, after in stages(profile):
        flows = packets(named(policy.stage(stage), without=UNCUT[profile]))
        turned = {cell.probe.id for cell in cells() if computed(cell, before)[0] != computed(cell, after)[0]}
        own = {cell.probe.id for cell in cells() if cell.way is not None and belongs(cell, flows) and not computed(cell, before)[0]}
        assert turned == own, stage
        assert turned, f"no cell asks for anything that {stage} opens"
        turned_in_all += len(turned)
    assert turned_in_all > 80


@pytest.mark.parametrize("profile", ["total", "internet"])
def test_inside_the_site_nothing_turns_and_outside_only_what_was_decided_passes(profile: str) -> None:
    cut = Containment({layer.device: (layer,) for layer in layers_of(*valmont(), profile)})
    _, policy = valmont()
    kept = packets(pair for name in OPENING for pair in named(policy.stage(name)) if pair[0].name in UNCUT[profile])
    for cell in cells():
        passes, why = computed(cell, cut)
        if cell.side == "inside":
            assert passes, (cell.probe.id, why)
        elif passes:
            spared = profile == "internet" and "ght" in (cell.from_zone, cell.to_zone)
            assert spared or belongs(cell, kept), cell.probe.id


def test_an_answer_that_differs_is_named_with_its_reason_and_nothing_else_is() -> None:
    cut = Containment({layer.device: (layer,) for layer in layers_of(*valmont(), "total")})
    before = {cell.probe.id: cell.way is not None for cell in cells()}
    now: dict[str, bool | None] = {cell.probe.id: expected(cell, cut, before[cell.probe.id])[0] for cell in cells()}
    assert disagreements(cells(), cut, before, now) == ()
    leak, lost, silent = (
        next(cell for cell in cells() if cell.side == side and now[cell.probe.id] is passes)
        for side, passes in (("out", False), ("inside", True), ("in", False))
    )
    wrong = {**now, leak.probe.id: True, lost.probe.id: False, silent.probe.id: None}
    found = {item.cell.probe.id: str(item) for item in disagreements(cells(), cut, before, wrong)}
    assert set(found) == {leak.probe.id, lost.probe.id, silent.probe.id}
    assert "passes, computed: is blocked" in found[leak.probe.id]
    assert "stops it" in found[leak.probe.id]
    assert "is blocked, computed: passes (no guard on its way stops it" in found[lost.probe.id]
    assert "has no answer" in found[silent.probe.id]


def test_what_passes_uncut_although_no_way_is_known_is_a_disagreement() -> None:
    before: dict[str, bool | None] = {cell.probe.id: cell.way is not None for cell in cells()}
    assert disagreements(cells(), Containment({}), before, before) == ()
    unknown = next(cell for cell in cells() if cell.way is None)
    passes = {**before, unknown.probe.id: True}
    (found,) = disagreements(cells(), Containment({}), passes, passes)
    assert found.why == "the routes of the inventory lead nowhere"


def test_what_the_site_itself_refused_before_is_not_expected_to_pass() -> None:
    before = dict.fromkeys((cell.probe.id for cell in cells()), False)
    assert {expected(cell, Containment({}), False)[0] for cell in cells()} == {False}
    assert disagreements(cells(), Containment({}), before, before) == ()


def test_a_vendor_reaches_what_is_published_as_everybody_does() -> None:
    """Its zone has a way in of its own; the fibre carries it all the same."""
    mail = [cell for cell in cells() if cell.from_zone == "vendors" and cell.probe.port == 25 and cell.to_zone == "dmz-in"]
    assert {str(cell.probe.destination) for cell in mail if cell.way is not None} == {"203.0.113.22", "2001:db8:20:11::25"}
    assert {cell.way.exit.name for cell in mail if cell.way is not None and cell.way.exit is not None} == {"fibre"}
    assert {hop.device for cell in mail if cell.way is not None for hop in cell.way.hops} == {"rtr-isp", "fw-ext", "sw-dmz"}
