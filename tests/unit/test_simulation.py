"""The simulated hospital answers about packets as the inventory says."""

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.domain.layer import TCP, UDP, DeviceChange, Element, Layer, Opening
from orchestrator.domain.probes import Check, Probe, Purpose
from orchestrator.ports import Credential, DeviceStep, Target
from orchestrator.simulation.device import Fault
from orchestrator.simulation.hospital import SimulatedHospital, SimulatedProbes
from orchestrator.simulation.store import StoredHospital

INVENTORY = Path(__file__).parents[2] / "inventory" / "valmont.yml"
PORTAL = Element(source=ip_network("198.51.100.14/32"), destination=ip_network("10.20.11.10/32"), protocol=TCP, ports=(443, 443))
OPENING = DeviceChange(device="fw-ext", openings=(Opening(flow="portal", partner="sister", element=PORTAL),))
EXTERNAL = Layer(slot="internet-00000000", profile="internet", device="fw-ext", guard=("wan0",))
BACKUP = Layer(slot="internet-00000000", profile="internet", device="rtr-backup", guard=("lte0",), coarse=True)


class World:
    def __init__(self) -> None:
        self.time = 1000.0
        self.hospital = SimulatedHospital(read_inventory(INVENTORY).site, now=lambda: self.time)

    def tell(self, device: str, *scripts: object, credential: Credential = Credential.OPEN) -> DeviceStep:
        platform = self.hospital.machines[device].declared.platform
        target = Target(device, platform, "", "")
        (outcomes,) = self.hospital.run({target: scripts}, credential=credential, deadline_s=1, verb="test")  # type: ignore[dict-item]
        return outcomes[-1].step

    def passes(self, start: str, destination: str, port: int, protocol: int = TCP) -> bool:
        return self.hospital.reaches(start, ip_address(destination), protocol, port)[0]


@pytest.fixture
def world() -> World:
    return World()


WIDE_OPEN = [
    ("internet-host", "203.0.113.20", 443), ("internet-host", "2001:db8:20:11::10", 443), ("record", "198.51.100.36", 443),
    ("ws-backup", "198.51.100.10", 443), ("pacs", "198.51.100.99", 9000), ("sister", "10.20.22.10", 104),
    ("sister", "2001:db8:20:22::10", 104), ("internet-host", "203.0.113.3", 443), ("vendor-1", "203.0.113.3", 8022),
    ("internet-host", "192.0.2.10", 9000), ("ws-offices", "10.20.21.10", 443),
]  # fmt: skip


@pytest.mark.parametrize(("start", "destination", "port"), WIDE_OPEN)
def test_before_the_cut_everything_is_reachable(world: World, start: str, destination: str, port: int) -> None:
    assert world.passes(start, destination, port)


def test_what_nobody_published_is_not_reachable(world: World) -> None:
    assert not world.passes("internet-host", "203.0.113.20", 22)
    assert not world.passes("internet-host", "10.20.21.10", 443)


def lay(world: World, layer: Layer, epoch: int = 7) -> None:
    dialect = world.hospital.dialect_for(world.hospital.machines[layer.device].declared.platform)
    assert world.tell(layer.device, dialect.lay(layer).filled(epoch=epoch), dialect.persist(layer), credential=Credential.CUT) == "applied"
    observed = world.hospital.machines[layer.device].observed()
    assert observed.fingerprint == dialect.expected((layer,)).fingerprint
    assert observed.boots_with == (layer.slot,)


def test_the_layer_cuts_and_care_goes_on(world: World) -> None:
    lay(world, EXTERNAL)
    assert not world.passes("internet-host", "203.0.113.20", 443)
    assert not world.passes("record", "2001:db8:100::36", 443)
    assert world.passes("ws-offices", "10.20.21.10", 443)
    assert world.passes("ws-backup", "198.51.100.10", 443), "the backup line everyone forgets"
    lay(world, BACKUP)
    assert not world.passes("ws-backup", "198.51.100.10", 443)


def test_an_opening_closes_by_itself_unless_confirmed(world: World) -> None:
    lay(world, EXTERNAL)
    dialect = world.hospital.dialect_for("nftables")
    assert world.tell("fw-ext", dialect.open(OPENING).filled(epoch=7, confirm=30)) == "applied"
    assert world.passes("sister", "203.0.113.20", 443)
    assert not world.passes("internet-host", "203.0.113.20", 443)
    world.time += 31
    assert not world.passes("sister", "203.0.113.20", 443)
    assert world.tell("fw-ext", dialect.confirm(OPENING).filled(epoch=7)) == "refused"
    world.tell("fw-ext", dialect.open(OPENING).filled(epoch=7, confirm=30), dialect.confirm(OPENING).filled(epoch=7))
    world.time += 10_000
    assert world.passes("sister", "203.0.113.20", 443)
    world.hospital.machines["fw-ext"].reboot()
    assert not world.passes("sister", "203.0.113.20", 443), "a device boots without any pinhole"


def test_a_late_command_and_the_cut_key_open_nothing(world: World) -> None:
    lay(world, EXTERNAL, epoch=8)
    dialect = world.hospital.dialect_for("nftables")
    assert world.tell("fw-ext", dialect.open(OPENING).filled(epoch=7, confirm=30)) == "refused"
    assert world.tell("fw-ext", dialect.open(OPENING).filled(epoch=8, confirm=30), credential=Credential.CUT) == "refused"
    assert not world.passes("sister", "203.0.113.20", 443)


def test_a_narrower_second_layer_reopens_nothing(world: World) -> None:
    lay(world, EXTERNAL)
    narrow = Layer(slot="vendors-00000000", profile="vendors", device="fw-ext", guard=("wan0",), scope=(ip_network("198.51.100.192/26"),))
    dialect = world.hospital.dialect_for("nftables")
    assert world.tell("fw-ext", dialect.lay(narrow).filled(epoch=9), credential=Credential.CUT) == "applied"
    assert not world.passes("internet-host", "203.0.113.20", 443)


@pytest.mark.parametrize(
    ("fault", "step", "laid"),
    [
        (Fault.CONNECTION_REFUSED, "refused", False),
        (Fault.WRONG_HOST_KEY, "refused", False),
        (Fault.HANG, "unknown", False),
        (Fault.LOST_OUTCOME, "unknown", True),
    ],
)
def test_faults_are_told_apart(world: World, fault: Fault, step: str, laid: bool) -> None:
    machine = world.hospital.machines["fw-ext"]
    machine.faults.add(fault)
    dialect = world.hospital.dialect_for("nftables")
    assert world.tell("fw-ext", dialect.lay(EXTERNAL).filled(epoch=7), credential=Credential.CUT) == step
    assert bool(machine.slots) is laid


def test_an_unreachable_vantage_point_is_inconclusive(world: World) -> None:
    probe = Probe(id="1", purpose=Purpose.CARE, vantage="ws-offices", destination=ip_address("10.20.21.10"), kind="transaction", port=443)
    probes = SimulatedProbes(world.hospital)
    assert probes.run([probe], deadline_s=1)[0].check is Check.SUCCESSFUL
    world.hospital.dark.add("ws-offices")
    assert probes.run([probe], deadline_s=1)[0].check is Check.INCONCLUSIVE


def test_established_conversations_are_tracked(world: World) -> None:
    assert world.hospital.establish("record", ip_address("198.51.100.36"), TCP, 443)
    assert not world.hospital.establish("internet-host", ip_address("10.20.21.10"), UDP, 9)
    (entry,) = world.hospital.machines["fw-ext"].tracked
    assert (str(entry.source), str(entry.destination), entry.port) == ("10.20.21.10", "198.51.100.36", 443)


def test_a_stored_hospital_is_met_by_the_next_process(tmp_path: Path) -> None:
    site = read_inventory(INVENTORY).site
    file = tmp_path / "hospital.json"
    dialect = SimulatedHospital.dialect_for("nftables")
    target = Target("fw-ext", "nftables", "", "")
    orders = {target: [dialect.lay(EXTERNAL).filled(epoch=7), dialect.open(OPENING).filled(epoch=7, confirm=60)]}
    (outcomes,) = StoredHospital(site, file).run(orders, credential=Credential.OPEN, deadline_s=1, verb="test")
    assert [outcome.step for outcome in outcomes] == ["applied", "applied"]
    with StoredHospital(site, file).opened() as hospital:
        assert hospital.machines["fw-ext"].observed().opened == (PORTAL,)
        assert not hospital.reaches("internet-host", ip_address("203.0.113.20"), TCP, 443)[0]
        assert hospital.reaches("sister", ip_address("203.0.113.20"), TCP, 443)[0]
