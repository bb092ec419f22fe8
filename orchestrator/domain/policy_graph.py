"""Three pictures of a policy as plain graphs: the stages, the flows, the topology. Drawing them is somebody else's work.

Titles are the policy's own text, whatever it holds: whoever draws escapes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

import networkx as nx

from orchestrator.domain.gates import AllOf, AnyOf, Gate, SingleGate
from orchestrator.domain.network import Device, Exit, Interface, Node, Site, Zone, ZoneKind
from orchestrator.domain.packet_ends import service_text
from orchestrator.domain.policy import Application, Flow, Partner, Policy, Stage
from orchestrator.domain.stands import order_of

Kind = Literal["stage", "lift", "application", "partner", "zone", "segment", "device", "exit", "outside"]


@dataclass(frozen=True)
class Vertex:
    """`lines` are what is written in it, the name first; `title` is the whole of it in one line; `group` an id of a group.
    `stage` places it in the order (0 first), for its colour; None when no stage is meant."""

    id: str
    kind: Kind
    lines: tuple[str, ...]
    title: str
    group: str | None = None
    stage: int | None = None


@dataclass(frozen=True)
class Edge:
    """`directed`: from `start` to `end`; otherwise a cable."""

    start: str
    end: str
    label: str = ""
    title: str = ""
    directed: bool = True
    stage: int | None = None


@dataclass(frozen=True)
class Group:
    id: str
    title: str


@dataclass(frozen=True)
class Picture:
    """`of` says which picture it is; `legend` names the stages that numbers stand for."""

    of: Literal["stages", "flows", "topology"]
    title: str
    vertices: tuple[Vertex, ...]
    edges: tuple[Edge, ...]
    groups: tuple[Group, ...] = ()
    legend: tuple[str, ...] = field(default=())


def picture(of: str, site: Site, policy: Policy) -> Picture:
    """The picture of that name."""
    drawn = {"stages": lambda: stages_picture(policy), "flows": lambda: flows_picture(policy), "topology": lambda: topology_picture(site)}
    return drawn[of]()


# --- the stages -----------------------------------------------------------------------------------------------------


def stages_picture(policy: Policy) -> Picture:
    """What requires what, with gates, votes and flows of each stage."""
    order = order_of(policy)
    vertices = tuple(_stage(policy.stage(name), number) for number, name in enumerate(order))
    edges = tuple(
        Edge(needed.stage, stage.name, _wait(needed.open_for, needed.flows), f"{stage.name} requires {needed.stage}")
        for stage in (policy.stage(name) for name in order)
        for needed in stage.requires
    )
    return Picture("stages", f"{policy.site}: stages, and what each of them requires", vertices, edges, legend=order)


def _stage(stage: Stage, number: int) -> Vertex:
    opens = "lifts the layer" if stage.lifts else f"opens {', '.join(stage.flows)}"
    only = f" (only {', '.join(stage.partners)})" if stage.partners is not None else ""
    gates = [f"needs {_gate(gate)}" for gate in stage.gates]
    votes = "votes " + ", ".join(f"{count} {role}" for role, count in stage.votes.items())
    more = [f"first {stage.canary.partner}"] if stage.canary is not None else []
    more.append(f"watched {_for(stage.observation)}")
    lines = (stage.name, stage.title.en, opens + only, *gates, votes, *more)
    return Vertex(stage.name, "lift" if stage.lifts else "stage", lines, "; ".join(lines), stage=number)


def _gate(gate: Gate) -> str:
    if isinstance(gate, AllOf):
        return " and ".join(_joined(gate.all_of))
    if isinstance(gate, AnyOf):
        return " or ".join(_joined(gate.any_of))
    return _single(gate)


def _joined(gates: Iterable[Gate]) -> Iterator[str]:
    yield from (f"({_gate(gate)})" if isinstance(gate, AllOf | AnyOf) else _gate(gate) for gate in gates)


def _single(gate: SingleGate) -> str:
    confined = [*gate.flows, *gate.partners]
    return f"{gate.id}: {gate.title.en}" + (f" (only {', '.join(confined)})" if confined else "")


def _wait(open_for: timedelta, flows: Iterable[str]) -> str:
    return " · ".join([*([f"open for {_for(open_for)}"] if open_for else []), *([f"only {', '.join(flows)}"] if flows else [])])


def _for(duration: timedelta) -> str:
    seconds = round(duration.total_seconds())
    return next(
        (f"{seconds // size}{unit}" for unit, size in (("d", 86400), ("h", 3600), ("m", 60)) if seconds and seconds % size == 0),
        f"{seconds}s",
    )


# --- the flows ------------------------------------------------------------------------------------------------------


def flows_picture(policy: Policy) -> Picture:
    """Applications and partners, each grouped by zone and in the order of the stage that opens them first."""
    order = order_of(policy)
    number = {name: place for place, stage in enumerate(order) for name in policy.stage(stage).flows}
    first: dict[str, int] = {}
    edges = []
    for flow in sorted(policy.flows, key=lambda item: number.get(item.name, len(order))):
        for partner in flow.partners:
            place = _place(policy, flow, partner, order)
            application = f"application {flow.application}"
            if place is not None:
                first.setdefault(application, place)
                first.setdefault(f"partner {partner}", place)
            start, to = (f"partner {partner}", application) if flow.direction == "in" else (application, f"partner {partner}")
            services = ", ".join(service_text(service) for service in flow.services)
            opened = f"opened by {order[place]}" if place is not None else "opened by no stage"
            label = f"{_short(order[place])} {services}" if place is not None else services
            edges.append(Edge(start, to, label, f"{flow.name}: {start} → {to}, {services}; {opened}", stage=place))
    partners = {name for flow in policy.flows for name in flow.partners}
    ends: list[tuple[Kind, Application | Partner]] = [("application", item) for item in policy.applications]
    ends += [("partner", item) for item in policy.partners if item.name in partners]
    vertices = [_end(kind, item, first.get(f"{kind} {item.name}")) for kind, item in ends]
    last = len(order)
    vertices.sort(key=lambda item: (item.kind, item.group or "", last if item.stage is None else item.stage, item.id))
    zones = tuple(Group(name, name) for name in dict.fromkeys(item.group for item in vertices) if name is not None)
    title = f"{policy.site}: flows by application and partner, and the stage that opens them"
    return Picture("flows", title, tuple(vertices), tuple(edges), zones, order)


def _end(kind: Kind, item: Application | Partner, stage: int | None) -> Vertex:
    return Vertex(f"{kind} {item.name}", kind, (item.name,), f"{item.name}: {item.title.en}", f"zone {item.zone}", stage)


def _place(policy: Policy, flow: Flow, partner: str, order: tuple[str, ...]) -> int | None:
    """The number of the stage that opens this flow with this partner."""
    for place, name in enumerate(order):
        stage = policy.stage(name)
        if flow.name in stage.flows and (stage.partners is None or partner in stage.partners):
            return place
    return None


def _short(stage: str) -> str:
    """`P4` of `P4-images`."""
    return stage.partition("-")[0]


# --- the topology ---------------------------------------------------------------------------------------------------


def topology_picture(site: Site) -> Picture:
    """Zones, devices with their grain, exits, and routers of others. The management network is left out: it reaches every
    device and carries nothing of the site."""
    shown = [zone for zone in site.zones if zone.kind is not ZoneKind.MANAGEMENT]
    segments = [item for item in site.segments if item.zone in {zone.name for zone in shown}]
    with_segments = {item.zone for item in segments}
    vertices = [_zone(zone) for zone in shown if zone.name not in with_segments]
    vertices += [
        Vertex(f"segment {item.name}", "segment", (item.name,), item.description or item.name, f"zone {item.zone}") for item in segments
    ]
    vertices += [_device(device) for device in site.devices]
    vertices += [_exit(site, item) for item in site.exits]
    vertices += [
        Vertex(f"outside {item.name}", "outside", (item.name, "not ours"), f"{item.name}, a router of others") for item in site.outside
    ]
    groups = tuple(Group(f"zone {zone.name}", _zone_text(zone)) for zone in shown if zone.name in with_segments)
    return Picture("topology", f"{site.name}: zones, devices and exits", tuple(vertices), tuple(_cables(site, with_segments)), groups)


def _zone_text(zone: Zone) -> str:
    return f"{zone.name} ({zone.kind.value}{', transit' if zone.transit else ''})"


def _zone(zone: Zone) -> Vertex:
    vlan = (f"VLAN {zone.vlan}",) if zone.vlan is not None else ()
    return Vertex(
        f"zone {zone.name}", "zone", (zone.name, zone.kind.value, *vlan), f"{_zone_text(zone)}: {', '.join(map(str, zone.prefixes))}"
    )


def _grain(device: Device) -> str:
    return "+".join(grain.value for grain in device.grain)


def _device(device: Device) -> Vertex:
    lines = (device.name, device.platform.value, f"grain {_grain(device)}")
    return Vertex(f"device {device.name}", "device", lines, ", ".join(lines))


def _exit(site: Site, item: Exit) -> Vertex:
    grain = _grain(site.device(item.device))
    primary = f"; primary for {', '.join(item.primary_for)}" if item.primary_for else ""
    title = f"exit {item.name} at {item.device} {item.interface} into {item.zone}, grain {grain}{primary}"
    return Vertex(f"exit {item.name}", "exit", (f"exit {item.name}", f"grain {grain}"), title)


def _cables(site: Site, with_segments: set[str]) -> Iterator[Edge]:
    """Every cable once; those between the same two places together, with the names of their interfaces or VLANs."""
    found: dict[tuple[str, str], list[str]] = {}
    for node in (*site.devices, *site.outside):
        for interface in node.interfaces:
            for start, end, label in _plugged(site, node, interface):
                found.setdefault((start, end), []).append(label)
    for device in site.devices:
        for port in device.ports:
            zone = site.zone(port.zone)
            if port.link is not None:
                for start, end, label in _through_exit(site, device, port.name, f"segment {port.link}"):
                    found.setdefault((start, end), []).append(label)
            elif zone.name not in with_segments and zone.kind is not ZoneKind.MANAGEMENT:
                found.setdefault((f"device {device.name}", f"zone {zone.name}"), []).append(port.name)
    steps = _steps_from_inside(site, found)
    for (start, end), labels in found.items():
        named = list(dict.fromkeys(labels))
        short = ", ".join(named) if len(named) <= 2 else f"{len(named)} ports" if end.startswith("zone ") else f"{len(named)} VLANs"
        farther = [(steps.get(name, 0), name.startswith("segment ")) for name in (start, end)]  # an exit leads to its segment
        ends = (start, end) if farther[0] >= farther[1] else (end, start)
        yield Edge(*ends, "" if end.startswith("zone ") else short, f"{start} – {end}: {', '.join(filter(None, named))}", directed=False)


def _steps_from_inside(site: Site, cables: Iterable[tuple[str, str]]) -> dict[str, int]:
    """How far from the inside zones everything is: cables are told, and drawn, from outside to inside."""
    graph: nx.Graph[str] = nx.Graph()
    graph.add_edges_from(cables)
    starts = [name for name in (f"zone {zone.name}" for zone in site.zones if not zone.is_external) if name in graph]
    return {name: steps for steps, reached in enumerate(nx.bfs_layers(graph, starts)) for name in reached} if starts else {}


def _plugged(site: Site, node: Node, interface: Interface) -> Iterator[tuple[str, str, str]]:
    if site.zone(interface.zone).kind is ZoneKind.MANAGEMENT:
        return
    name = f"{'device' if isinstance(node, Device) else 'outside'} {node.name}"
    switch, _, port = interface.link.partition("/")
    if port:
        yield name, f"device {switch}", interface.zone
    elif isinstance(node, Device):
        yield from _through_exit(site, node, interface.name, f"segment {interface.link}")
    else:
        yield name, f"segment {interface.link}", interface.name


def _through_exit(site: Site, device: Device, name: str, segment: str) -> Iterator[tuple[str, str, str]]:
    """An exit stands between the device and what it leads to."""
    leads = next((item for item in site.exits if (item.device, item.interface) == (device.name, name)), None)
    if leads is None:
        yield f"device {device.name}", segment, name
        return
    yield f"device {device.name}", f"exit {leads.name}", name
    yield f"exit {leads.name}", segment, ""
