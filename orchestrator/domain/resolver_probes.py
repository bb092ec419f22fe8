"""What is asked of a resolver beside the name that it answers for: that it does not ask outside in somebody's place.

A resolver that recurses for everybody is a way out that no pinhole shows: data leaves in the labels of names that nobody
has (DNS tunnelling). The inventory declares a name that a resolver has no business with (`dns/53/NAME/OUTSIDE`); it is
refused, and what a random label under it carries does not get out.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.network import Site
from orchestrator.domain.probes import Probe, Purpose
from orchestrator.domain.responders import behind


def beside(probe: Probe, outside: str) -> Iterator[Probe]:
    """Of a probe that a resolver must answer: a refusal that must come, and a tunnel that must not be one. None without a
    declared name outside, nor beside what must not pass anyway."""
    if probe.kind != "dns" or probe.purpose is not Purpose.POSITIVE or not outside:
        return
    yield probe.model_copy(update={"id": f"{probe.id}:refused", "name": outside, "dns": "refused"})
    yield probe.model_copy(update={"id": f"{probe.id}:tunnels", "name": outside, "dns": "tunnels", "purpose": Purpose.NEGATIVE})


def with_refusals(site: Site, probe: Probe) -> tuple[Probe, ...]:
    """The probe, and what is asked beside it of the resolver that it reaches."""
    address, port = behind(site, probe)
    owner = site.owners.get(address)
    declared = owner[0].services if owner is not None else ()
    outside = next((one.outside for one in declared if (one.kind, one.port, one.name) == ("dns", port, probe.name)), "")
    return (probe, *beside(probe, outside))
