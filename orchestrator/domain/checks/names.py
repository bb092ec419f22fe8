"""Names: everything that is referred to exists, and one name does not stand for two things."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from orchestrator.domain.checks.gate_places import placed
from orchestrator.domain.checks.problem import Key, Problem, in_inventory, in_policy, one_of
from orchestrator.domain.network import Site
from orchestrator.domain.policy import Policy

Reference: TypeAlias = tuple[tuple[Key, ...], str, str]  # where it stands, what kind of thing it names, the name

KIND_TEXT = {"people": "person", "care": "care assertion", "partners": "partner"}


def inventory_names(site: Site, policy: Policy) -> Iterator[Problem]:
    """Zones, devices, interfaces and exits that the inventory refers to; names used twice."""
    del policy
    known = {
        "zones": [zone.name for zone in site.zones],
        "devices": [device.name for device in site.devices],
    }
    for path, kind, name in _inventory_references(site):
        if name not in known[kind]:
            yield in_inventory(*path, message=f"unknown {_singular(kind)} {name!r}", advice=one_of(name, known[kind]))
    segments = {segment.name for segment in site.segments}
    for section, nodes in (("devices", site.devices), ("hosts", site.hosts), ("outside", site.outside)):
        for node in nodes:
            if node.name in segments:
                message = f"{node.name} is both a segment and one of the {section}: a link to it would be ambiguous"
                yield in_inventory(section, node.name, message=message, advice="rename one of the two")
            elif node.name == "orchestrator":
                yield in_inventory(section, node.name, message="`orchestrator` is the orchestrator itself", advice="rename it")
    for device in site.devices:
        for name in sorted({item.name for item in device.interfaces} & {item.name for item in device.ports}):
            message = f"{device.name} has an interface and a port that are both called {name}"
            yield in_inventory("devices", device.name, "ports", name, message=message, advice="rename one of the two")
        interfaces = {item.name for item in device.interfaces}
        for index, name in enumerate(device.nat.masquerade):
            if name not in interfaces:
                where = ("devices", device.name, "nat", "masquerade", index)
                yield in_inventory(*where, message=f"unknown interface {name!r} of {device.name}", advice=one_of(name, interfaces))
    for exit_ in site.exits:
        device_ = next((item for item in site.devices if item.name == exit_.device), None)
        if device_ is None:
            continue  # reported above
        names = [item.name for item in device_.attachments]
        if exit_.interface not in names:
            message = f"unknown interface or port {exit_.interface!r} of {exit_.device}"
            yield in_inventory("exits", exit_.name, "interface", message=message, advice=one_of(exit_.interface, names))


def _inventory_references(site: Site) -> Iterator[Reference]:
    for segment in site.segments:
        yield ("segments", segment.name, "zone"), "zones", segment.zone
    for section, nodes in (("devices", site.devices), ("hosts", site.hosts), ("outside", site.outside)):
        for node in nodes:
            for interface in node.interfaces:
                yield (section, node.name, "interfaces", interface.name, "zone"), "zones", interface.zone
    for device in site.devices:
        for port in device.ports:
            yield ("devices", device.name, "ports", port.name, "zone"), "zones", port.zone
        if device.management_via is not None:
            yield ("devices", device.name, "management_via"), "devices", device.management_via
    for exit_ in site.exits:
        yield ("exits", exit_.name, "device"), "devices", exit_.device
        yield ("exits", exit_.name, "zone"), "zones", exit_.zone
        for index, zone in enumerate(exit_.primary_for):
            yield ("exits", exit_.name, "primary_for", index), "zones", zone
    yield ("orchestrator", "interface", "zone"), "zones", site.orchestrator.zone


def policy_names(site: Site, policy: Policy) -> Iterator[Problem]:
    """Everything that the policy refers to, in itself and in the inventory; names that mislead."""
    known: Mapping[str, set[str]] = {
        "zones": {zone.name for zone in site.zones},
        "devices": {device.name for device in site.devices},
        "hosts": {host.name for host in site.hosts},
        "exits": {exit_.name for exit_ in site.exits},
        "applications": {item.name for item in policy.applications},
        "partners": {item.name for item in policy.partners},
        "flows": {item.name for item in policy.flows},
        "care": {item.name for item in policy.care},
        "profiles": {item.name for item in policy.profiles},
        "stages": {item.name for item in policy.stages},
        "people": {item.name for item in policy.people},
    }
    if policy.site != site.name:
        message = f"the policy is for {policy.site}, the inventory describes {site.name}"
        yield in_policy("site", message=message, advice="give the two files of one site")
    for path, kind, name in _policy_references(policy):
        if name not in known[kind]:
            yield in_policy(*path, message=f"unknown {_singular(kind)} {name!r}", advice=one_of(name, known[kind]))
    yield from _guards(site, policy)
    yield from _misleading(policy, known)


def _policy_references(policy: Policy) -> Iterator[Reference]:
    yield ("default_profile",), "profiles", policy.default_profile
    for application in policy.applications:
        yield ("applications", application.name, "zone"), "zones", application.zone
        yield ("applications", application.name, "owner"), "people", application.owner
        yield from _each(("applications", application.name, "other_zones"), "zones", application.other_zones)
    for partner in policy.partners:
        yield ("partners", partner.name, "zone"), "zones", partner.zone
    for flow in policy.flows:
        yield ("flows", flow.name, "application"), "applications", flow.application
        yield from _each(("flows", flow.name, "partners"), "partners", flow.partners)
        if flow.exit is not None:
            yield ("flows", flow.name, "exit"), "exits", flow.exit
        if flow.terminates_on is not None:
            yield ("flows", flow.name, "terminates_on"), "devices", flow.terminates_on
        for profile_name in flow.decisions:
            yield ("flows", flow.name, "decisions", profile_name), "profiles", profile_name
    for entry in policy.keep:
        if entry.zone is not None:
            yield ("keep", entry.name, "zone"), "zones", entry.zone
        if entry.flow is not None:
            yield ("keep", entry.name, "flow"), "flows", entry.flow
    for care in policy.care:
        yield ("care", care.name, "from_host"), "hosts", care.from_host
        yield ("care", care.name, "to_host"), "hosts", care.to_host
    for profile in policy.profiles:
        here = ("profiles", profile.name)
        for device in profile.layers:
            yield (*here, "layers", device), "devices", device
        yield from _each((*here, "scope_zones"), "zones", profile.scope_zones)
        yield from _each((*here, "cuts"), "zones", profile.cuts)
        for zone in profile.spares:
            yield (*here, "spares", zone), "zones", zone
        for index, sacrifice in enumerate(profile.sacrifices):
            yield (*here, "sacrifices", index, "care"), "care", sacrifice.care
    for stage in policy.stages:
        start = ("stages", stage.name)
        yield from _each((*start, "flows"), "flows", stage.flows)
        yield from _each((*start, "partners"), "partners", stage.partners or ())
        for index, predecessor in enumerate(stage.requires):
            yield (*start, "requires", index, "stage"), "stages", predecessor.stage
        for place, gate in placed(stage):
            yield from _each((*place, "flows"), "flows", gate.flows)
        if stage.canary is not None:
            yield (*start, "canary", "partner"), "partners", stage.canary.partner
    for person in policy.people:
        yield from _each(("people", person.name, "owns"), "applications", person.owns)
        yield from _each(("people", person.name, "speaks_for"), "partners", person.speaks_for)


def _each(path: tuple[Key, ...], kind: str, names: tuple[str, ...]) -> Iterator[Reference]:
    for index, name in enumerate(names):
        yield (*path, index), kind, name


def _guards(site: Site, policy: Policy) -> Iterator[Problem]:
    devices = {device.name: device for device in site.devices}
    for profile in policy.profiles:
        for name, guard in profile.layers.items():
            device = devices.get(name)
            where = ("profiles", profile.name, "layers", name)
            if not guard:
                yield in_policy(*where, message=f"{name} is guarded nowhere", advice="name its interfaces or ports, or remove the line")
            for index, item in enumerate(guard if device is not None else ()):
                names = {part.name for part in device.attachments} if device is not None else set()
                if item not in names:
                    message = f"unknown interface or port {item!r} of {name}"
                    yield in_policy(*where, index, message=message, advice=one_of(item, names))


def _misleading(policy: Policy, known: Mapping[str, set[str]]) -> Iterator[Problem]:
    for flow in policy.flows:
        if flow.name in known["applications"] and flow.name != flow.application:
            message = f"{flow.name} is the name of an application, but this flow belongs to {flow.application}"
            yield in_policy("flows", flow.name, message=message, advice="rename the flow")
        for repeated in sorted({name for name in flow.partners if flow.partners.count(name) > 1}):
            yield in_policy("flows", flow.name, "partners", message=f"{repeated} is named twice", advice="name each partner once")
    for profile in policy.profiles:
        for kept in profile.keeps:
            if kept.name in known["flows"]:
                message = f"{kept.name} is the name of a flow; a kept flow of a profile is another thing"
                yield in_policy("profiles", profile.name, "keeps", kept.name, message=message, advice="rename the kept flow")


def _singular(kind: str) -> str:
    return KIND_TEXT.get(kind, kind.removesuffix("s"))
