"""A hospital in memory, behind the same ports as the real one, with named faults.

For machines without root and for fast tests. It is built from the same inventory; packets are walked hop by hop
(`routing.py`) and every device on the way is asked (`device.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from orchestrator.dialects.base import Script
from orchestrator.domain.layer import ICMP, ICMPV6, TCP, UDP, TrackedConnection
from orchestrator.domain.network import Address, Device, Host, Service, Site
from orchestrator.domain.probes import Probe, ProbeResult
from orchestrator.ports import Credential, DeviceStep, Outcome, Target
from orchestrator.simulation.device import Fault, Rejected, SimulatedDevice
from orchestrator.simulation.dialect import dialect_for
from orchestrator.simulation.routing import Hop, Routing, Walk


class SimulatedHospital:
    """The whole site. `devices` and `probes` are itself: it implements both ports."""

    dialect_for = staticmethod(dialect_for)

    def __init__(self, site: Site, *, now: Callable[[], float] = time.monotonic) -> None:
        self.site = site
        self.routing = Routing(site)
        self.machines = {device.name: SimulatedDevice(device, now) for device in site.devices}
        self.dark: set[str] = set()  # vantage points that cannot be reached
        self.certified: dict[str, str] = {}  # host → the name in its certificate, where it is not the declared one
        self.forwarding: set[str] = set()  # hosts whose resolver asks outside for whoever asks it
        self.sent: list[tuple[str, str, Credential]] = []  # (device, verb, credential) of every session

    # --- traffic -----------------------------------------------------------------------------------------------

    def reaches(self, start: str, destination: Address, protocol: int, port: int | None, source: Address | None = None) -> tuple[bool, str]:
        """Whether a packet of a new conversation arrives and is answered, and why not."""
        walk = self.routing.walk(start, destination, protocol, port, source)
        for hop in walk.hops:
            if not self._crosses(hop, protocol):
                return False, f"{hop.device} drops it"
        if walk.arrived is None:
            return False, walk.reason
        if protocol in (TCP, UDP) and self.answering(walk, protocol, port) is None:
            return False, f"{walk.arrived} does not listen"
        return True, f"answered by {walk.arrived}"

    def establish(self, start: str, destination: Address, protocol: int, port: int) -> bool:
        """Opens a conversation that stays: every device that tracks connections on its way remembers it."""
        passes, _ = self.reaches(start, destination, protocol, port)
        if passes:
            for hop in self.routing.walk(start, destination, protocol, port).hops:
                if self.machines[hop.device].declared.platform != "openvswitch":
                    self.machines[hop.device].tracked.append(
                        TrackedConnection(
                            source=hop.source, destination=hop.destination, protocol=protocol, port=hop.port,
                            raw=f"{hop.source} {hop.destination} {protocol} {hop.port}",
                        )
                    )  # fmt: skip
        return passes

    def _crosses(self, hop: Hop, protocol: int) -> bool:
        machine = self.machines[hop.device]
        layer = machine.lets_through(hop.inside, hop.out, hop.source, hop.destination, protocol, hop.port)
        return layer and self._site_rules(machine.declared, hop, protocol)

    def _site_rules(self, device: Device, hop: Hop, protocol: int) -> bool:
        """The site's own rules, wide as they were before the attack: out is free, in is what was published."""
        if device.platform != "nftables" or hop.inside is None:
            return True
        if not self.site.zone(device.interface(hop.inside).zone).is_external or protocol in (ICMP, ICMPV6):
            return True
        if hop.out is None:
            return any(service.port == hop.port for service in device.services)
        if self.site.zone(device.interface(hop.inside).zone).name == "ght" and device.interface(hop.out).zone == "imaging":
            return True
        published = any(rule.to_port == hop.port for rule in device.nat.published)
        return hop.translated or (hop.destination.version == 6 and published)

    def answering(self, walk: Walk, protocol: int, port: int | None) -> Service | None:
        """The declared service that a walk which arrived meets there."""
        node = next(n for n in (*self.site.hosts, *self.site.devices, *self.site.outside) if n.name == walk.arrived)
        port = walk.hops[-1].port if walk.hops else port  # translated on the way
        return next((one for one in node.services if one.port == port and (one.transport == "udp") == (protocol == UDP)), None)

    # --- the port Devices --------------------------------------------------------------------------------------

    def run(
        self, scripts: Mapping[Target, Sequence[Script]], *, credential: Credential, deadline_s: float, verb: str
    ) -> Iterator[tuple[Outcome, ...]]:
        for target, texts in scripts.items():
            self.sent.append((target.device, verb, credential))
            yield tuple(self._run_one(target, texts, credential, deadline_s))

    def _run_one(self, target: Target, texts: Sequence[Script], credential: Credential, deadline_s: float) -> Iterator[Outcome]:
        machine = self.machines[target.device]
        for number, script in enumerate(texts):
            outcome = self._execute(machine, script, credential, deadline_s, number)
            yield outcome
            if outcome.step is not DeviceStep.APPLIED:
                return

    def _execute(self, machine: SimulatedDevice, script: Script, credential: Credential, deadline_s: float, number: int) -> Outcome:
        name = machine.declared.name
        for fault in (Fault.CONNECTION_REFUSED, Fault.AUTHENTICATION_REFUSED, Fault.WRONG_HOST_KEY, Fault.COMMAND_FAILS):
            if fault in machine.faults:
                return Outcome(name, DeviceStep.REFUSED, "", 0.0, fault.value.replace("-", " "))
        if Fault.HANG in machine.faults or (Fault.DROP_MIDWAY in machine.faults and number > 0):
            return Outcome(name, DeviceStep.UNKNOWN, "", deadline_s, "no answer")
        try:
            output = machine.execute(script.text, may_open=credential is Credential.OPEN)
        except Rejected as refusal:
            return Outcome(name, DeviceStep.REFUSED, str(refusal), 0.0, str(refusal))
        if Fault.LOST_OUTCOME in machine.faults:
            return Outcome(name, DeviceStep.UNKNOWN, "", deadline_s, "the answer was lost")
        if Fault.GARBAGE in machine.faults:
            output = "\x00\x1b[31m garbage"
        return Outcome(name, DeviceStep.APPLIED, output, 0.0)


class SimulatedProbes:
    """The port Probes on a simulated hospital."""

    def __init__(self, hospital: SimulatedHospital) -> None:
        self._hospital = hospital

    def run(self, probes: Sequence[Probe], *, deadline_s: float) -> tuple[ProbeResult, ...]:  # noqa: ARG002 (memory has no deadline)
        return tuple(self._one(probe) for probe in probes)

    def _one(self, probe: Probe) -> ProbeResult:
        host: Host | None = next((h for h in self._hospital.site.hosts if h.name == probe.vantage), None)
        if host is None or not host.is_vantage_point or probe.vantage in self._hospital.dark:
            return ProbeResult(probe=probe, passed=None, milliseconds=0.0, detail="the vantage point cannot be reached")
        protocol = {"udp": UDP, "dns": UDP, "icmp": ICMP if probe.destination.version == 4 else ICMPV6}.get(probe.kind, TCP)
        passed, detail = self._hospital.reaches(probe.vantage, probe.destination, protocol, probe.port, probe.source)
        if passed and probe.kind in ("tls", "dns"):
            passed, detail = self._by_name(probe, protocol)
        return ProbeResult(probe=probe, passed=passed, milliseconds=0.0, detail=detail)

    def _by_name(self, probe: Probe, protocol: int) -> tuple[bool, str]:
        """What arrived meets a certificate or a resolver: whether that counts as getting through, as `probe_program` says."""
        walk = self._hospital.routing.walk(probe.vantage, probe.destination, protocol, probe.port, probe.source)
        declared, host = self._hospital.answering(walk, protocol, probe.port), walk.arrived or ""
        own = declared.name if declared is not None else ""
        if probe.kind == "tls":
            presented = self._hospital.certified.get(host, own)
            if probe.expects_pass and presented != probe.name:
                return False, f"certificate is not valid for {probe.name!r}; it is for {presented or 'nobody'}"
            return True, f"certificate for {presented}"
        leaves = host in self._hospital.forwarding
        if probe.dns == "tunnels":
            return leaves, "the query left: no such name" if leaves else "the query did not leave: refused"
        said = "answered" if probe.name == own or leaves else "refused"
        wanted = "answered" if probe.dns == "resolves" else "refused"
        return said == wanted or (probe.dns == "resolves" and not probe.expects_pass), said
