"""Re-isolation: what a name (a partner, an application, a zone, a flow) concerns of everything that is open, running or voted on.

It only subtracts, so whatever is in doubt is concerned.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from orchestrator.domain.blocklist import within
from orchestrator.domain.needs import Held, all_living, living
from orchestrator.domain.network import Site, ZoneKind
from orchestrator.domain.plan import Plan
from orchestrator.domain.policy import Flow, Partner, Policy
from orchestrator.domain.profiles import kept_flows
from orchestrator.domain.stages import LETS_THROUGH, RUNNING, VOTING, StageState
from orchestrator.domain.state import SiteState, StageStatus
from orchestrator.domain.subtractions import Conversation, What
from orchestrator.errors import UnknownName


class Concerned(NamedTuple):
    """Stages by what happens to them, each with the conversations that it is for (none for a stage that lifts the layer)."""

    narrowed: dict[str, tuple[Conversation, ...]]
    reverted: dict[str, tuple[Conversation, ...]]
    stale: dict[str, tuple[Conversation, ...]]
    suspended: dict[str, tuple[Conversation, ...]]  # closed already; not resumed with the rest after a false alarm


def conversations_of(site: Site, policy: Policy, what: What, name: str) -> frozenset[Conversation]:
    """(flow, partner) of the whole policy. Raises UnknownName."""
    known: Mapping[What, Collection[str]] = {
        "partner": policy.partners_by_name,
        "application": policy.applications_by_name,
        "zone": [zone.name for zone in site.zones if zone.kind is not ZoneKind.MANAGEMENT],
        "flow": policy.flows_by_name,
    }
    if name not in known[what]:
        raise UnknownName(f"there is no {what} {name!r} that a conversation ends in", advice=f"use one of {', '.join(known[what])}")
    pairs = ((flow, policy.partner(partner)) for flow in policy.flows for partner in flow.partners)
    return frozenset((flow.name, partner.name) for flow, partner in pairs if _is_meant(site, policy, what, name, flow, partner))


def _is_meant(site: Site, policy: Policy, what: What, name: str, flow: Flow, partner: Partner) -> bool:
    if what == "zone":
        return name in ends_of(site, policy, flow, partner)
    return name == {"partner": partner.name, "application": flow.application, "flow": flow.name}[what]


def ends_of(site: Site, policy: Policy, flow: Flow, partner: Partner) -> frozenset[str]:
    """The zones in which a conversation ends: the partner's, those of the application and of its addresses, and what an
    IPsec tunnel that ends on a device of ours carries."""
    inner = [network.network_address for network in flow.ipsec.inner] if flow.ipsec is not None else []
    zones = {partner.zone, policy.application(flow.application).zone}
    return frozenset(zones | {site.zone_of(address).name for address in (*flow.addresses, *inner)})


def concerned(state: SiteState, pairs: frozenset[Conversation]) -> Concerned:
    """What the re-isolation of these conversations does to each stage."""
    found = Concerned({}, {}, {}, {})
    for status in state.stages.values():
        planned = _planned(state, status, pairs)
        touched = bool(planned) or (status.plan is not None and status.plan.lifts)
        if status.state in LETS_THROUGH:
            if mine := tuple(sorted(pairs.intersection(living(status)))):
                found.narrowed[status.name] = mine
        elif status.state in VOTING and touched:
            found.stale[status.name] = planned
        elif status.state in RUNNING - {StageState.REVERTING} | {StageState.FAILED} and touched:
            found.reverted[status.name] = planned
        elif status.state is StageState.SUSPENDED and planned:
            found.suspended[status.name] = planned
    return found


def _planned(state: SiteState, status: StageStatus, pairs: frozenset[Conversation]) -> tuple[Conversation, ...]:
    """Those of the conversations that the stage's plan opens; of a resumption, those of the stages that it resumes."""
    if status.plan is None:
        return ()
    resumed = (state.stage(item.stage).plan for item in status.plan.resumes)
    plans: list[Plan] = [status.plan, *(plan for plan in resumed if plan is not None)]
    return tuple(sorted(pair for pair in pairs if any(pair[0] in plan.flows and pair[1] in plan.partners for plan in plans)))


def broader(state: SiteState, policy: Policy, partner: Partner, pairs: frozenset[Conversation]) -> tuple[Held, ...]:
    """Conversations of others that live on and let this partner's addresses through as well."""
    return tuple(
        held
        for held in all_living(state)
        if held.conversation not in pairs
        and held.partner in policy.partners_by_name
        and any(within((network,), policy.partner(held.partner).networks) for network in partner.networks)
    )


def kept_by_the_layer(state: SiteState, policy: Policy, pairs: Collection[Conversation]) -> tuple[Conversation, ...]:
    """Those of the conversations that every layer in force keeps: a decision of peacetime, which a re-isolation leaves."""
    profiles = {slot.rpartition("-")[0] for device in state.devices.values() for slot in device.slots}
    known = [{flow.name for flow in kept_flows(policy, name)} for name in profiles if name in policy.profiles_by_name]
    kept = set.intersection(*known) if known else set()
    return tuple(sorted(pair for pair in pairs if pair[0] in kept))
