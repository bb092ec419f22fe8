"""A spared zone that has an internet exit of its own: closed to us as a way to the internet, and probed as such.

What a profile spares stays connected. When that zone gives transit, whoever is inside can reach the internet through it
although every exit of ours is cut: so the profile has to stop what goes beyond the zone, and a probe has to show it.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.checks.problem import Problem, in_policy
from orchestrator.domain.checks.profiles import is_coarse
from orchestrator.domain.network import Site
from orchestrator.domain.pack_probes import transit_probes, transit_questions
from orchestrator.domain.policy import Policy, Profile
from orchestrator.domain.profiles import layers_of, spared_behind
from orchestrator.domain.questions import Containment


def guards(site: Site, policy: Policy) -> Iterator[Problem]:
    """A guard into a spared zone can tell what is of that zone from what goes beyond it."""
    for profile in policy.profiles:
        for name, guard in profile.layers.items():
            device = site.device(name)
            into = {place.zone for place in device.attachments if place.name in guard} & _spared(site, profile)
            if not into or profile.scope_zones or spared_behind(site, profile, name, guard) is not None:
                continue
            zone, where = min(into), ("profiles", profile.name, "layers", name)
            if is_coarse(device) or device.ports:
                message = f"{name} closes {', '.join(guard)} whole, although {zone} is spared"
                advice = f"guard the interface of a firewall into {zone}: it stops only what goes beyond it"
            else:
                message = f"{name} guards its interface into {zone}, which is spared, together with others in one layer"
                advice = "guard the others on the next device, or in a profile of their own"
            yield in_policy(*where, message=message, advice=advice)


def probes(site: Site, policy: Policy) -> Iterator[Problem]:
    """For every spared zone that gives transit, and every family of it, the cut pack has a negative probe."""
    for profile in policy.profiles:
        for name in sorted(_spared(site, profile)):
            zone = site.zone(name)
            try:
                cut = Containment({layer.device: (layer,) for layer in layers_of(site, policy, profile.name)}) if zone.transit else None
            except KeyError:  # a kept flow without an exit: told by the check of the flows
                cut = None
            if cut is None:
                continue
            led = {question.outside.version for question, _ in transit_questions(site, name)}
            stopped = {probe.destination.version for probe in transit_probes(site, profile, name, cut)}
            for version in sorted({prefix.version for prefix in zone.prefixes} - stopped):
                yield in_policy(
                    "profiles",
                    profile.name,
                    "spares",
                    name,
                    message=f"{name} has an internet exit of its own, and no probe can show that nothing goes through it (IPv{version})",
                    advice=f"guard the interface of a firewall into {name}: it stops only what goes beyond it"
                    if version in led
                    else f"declare in the inventory a host that answers beyond {name}, and the route of ours that leads to it",
                )


def _spared(site: Site, profile: Profile) -> set[str]:
    """The external zones that the profile spares; what is cut as well is told elsewhere."""
    return {name for name in profile.spares if site.zone(name).is_external and name not in profile.cuts}
