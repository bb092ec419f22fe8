"""What a lift makes possible, as exact sets: what the layer stops, without the flow matrix, guard by guard."""

from __future__ import annotations

from functools import cache
from ipaddress import ip_address

from orchestrator.domain.layer import TCP
from orchestrator.domain.lift_packets import AtGuard, Matrix, beyond_the_matrix, flow_matrix
from orchestrator.domain.packet_elements import packets_of
from orchestrator.domain.packets import Direction, PacketSet
from orchestrator.domain.profiles import layers_of
from orchestrator.domain.questions import Containment
from tests.service.reopening import valmont

ANYBODY, PATIENT_RECORD, PORTAL = ip_address("192.0.2.99"), ip_address("10.20.21.10"), ip_address("10.20.11.10")


def laid(profile: str = "total") -> Containment:
    site, policy = valmont()
    return Containment({layer.device: (layer,) for layer in layers_of(site, policy, profile)})


@cache
def found(profile: str = "total") -> tuple[Matrix, dict[tuple[str, str], AtGuard]]:
    site, policy = valmont()
    matrix = flow_matrix(site, policy, laid(profile))
    return matrix, {(item.device, item.guard): item for item in beyond_the_matrix(site, matrix, laid(profile))}


def test_every_guard_of_every_layer_is_told() -> None:
    expected = {(device, guard) for device, layers in laid().layers.items() for layer in layers for guard in layer.guard}
    assert set(found()[1]) == expected


def test_what_no_flow_declares_is_beyond_and_what_one_declares_is_not() -> None:
    beyond = found()[1]["fw-ext", "wan0"].beyond
    assert beyond.contains(ANYBODY, PATIENT_RECORD, TCP, 22, Direction.IN)
    assert beyond.contains(PATIENT_RECORD, ANYBODY, TCP, 80, Direction.OUT)
    assert not beyond & packets_of(found()[0].elements["fw-ext"])


def test_what_does_not_cross_the_guard_is_not_in_it() -> None:
    beyond = found()[1]["fw-ext", "wan0"].beyond
    assert not beyond.contains(PORTAL, PATIENT_RECORD, TCP, 443, Direction.IN)
    assert not beyond.contains(PORTAL, PATIENT_RECORD, TCP, 443, Direction.OUT)
    assert not beyond.contains(ANYBODY, PATIENT_RECORD, TCP, 22, Direction.OUT), "it is they who come in"


def test_beyond_and_the_matrix_are_all_that_the_layer_stops() -> None:
    """Opening everything that the policy declares leaves exactly what is beyond it."""
    site, _ = valmont()
    matrix, before = found()
    everything = {item.device: item for item in beyond_the_matrix(site, Matrix({}, {}), laid())}
    for (device, _guard), item in before.items():
        if not item.coarse:
            stopped = everything[device].beyond
            assert item.beyond == stopped - packets_of(matrix.elements.get(device, ()))
            assert item.beyond <= stopped
    after = Containment(laid().layers, {device: matrix.elements.get(device, ()) for device in laid().layers})
    for item in beyond_the_matrix(site, matrix, after):
        assert item.beyond == before[item.device, item.guard].beyond


def test_a_guard_that_a_stage_has_released_stops_nothing_more() -> None:
    site, _ = valmont()
    released = Containment(laid().layers, released={"rtr-isp": {"up0"}})
    told = {item.device: item for item in beyond_the_matrix(site, found()[0], released)}
    assert told["rtr-isp"].beyond == PacketSet()
    assert told["rtr-backup"].beyond


def test_a_layer_with_a_scope_stops_no_more_than_that() -> None:
    site, policy = valmont()
    beyond = found("vendors")[1]["vpn", "wan0"].beyond
    vendors = [prefix for prefix in site.zone("vendors").prefixes if prefix.version == 4]
    assert beyond.contains(vendors[0][7], PATIENT_RECORD, TCP, 22, Direction.IN)
    assert not beyond.contains(ip_address("203.0.113.200"), PATIENT_RECORD, TCP, 22, Direction.IN)
    assert policy.profile("vendors").scope_zones == ("vendors",)


def test_the_backup_line_is_beyond_the_matrix_whole() -> None:
    assert found()[1]["rtr-backup", "lte0"].beyond.contains(ANYBODY, PATIENT_RECORD, TCP, 443, Direction.IN)
    assert "lte0" not in found()[0].guards.get("rtr-backup", frozenset())
