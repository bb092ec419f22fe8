"""The block list, folded: what is on it by the log, and what each device was last read back to hold of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_network

from orchestrator.domain.compile import without_prefixes
from orchestrator.domain.events import Event
from orchestrator.domain.events import EventType as E
from orchestrator.domain.layer import networks_in_order
from orchestrator.domain.network import Prefix
from orchestrator.domain.state import SiteState
from orchestrator.domain.subtractions import Block, Unblocking


def _blocklist_applied(state: SiteState, event: Event) -> SiteState:
    body, networks = event.body, _networks(event)
    takes = tuple((str(stage), str(flow), str(partner)) for stage, flow, partner in body.get("takes", ()))
    block = Block(
        body["block"], networks, networks, body["reason"], body.get("by") or event.actor, event.at, body.get("until", ""), takes,
        body.get("rehearsal") is True,
    )  # fmt: skip
    return replace(state, blocks={**state.blocks, block.id: block})


def _device_applied(state: SiteState, event: Event) -> SiteState:
    """What was read back counts, as expected or not; what could not be read changes nothing."""
    if event.body["step"] == "unknown":
        return state
    device = replace(state.device(str(event.device)), blocked=_networks(event))
    return replace(state, devices={**state.devices, device.name: device})


def _unblock_requested(state: SiteState, event: Event) -> SiteState:
    body = event.body
    asked = Unblocking(body["unblocking"], _networks(event), body["reason"], event.actor, event.at, event.seq)
    return replace(state, unblockings={**state.unblockings, asked.id: asked})


def _unblock_granted(state: SiteState, event: Event) -> SiteState:
    """`block` in the body confines it to one of them (whose time is over): the others keep what is theirs."""
    body, networks = event.body, _networks(event)
    unblockings = dict(state.unblockings)
    if asked := unblockings.get(body.get("unblocking", "")):
        unblockings[asked.id] = replace(asked, granted_by=event.actor, granted_at=event.at)
    blocks = {
        name: replace(block, left=_less(block.left, networks)) if body.get("block") in (None, name) else block
        for name, block in state.blocks.items()
    }
    return replace(state, unblockings=unblockings, blocks=blocks)


def _less(networks: tuple[Prefix, ...], taken: tuple[Prefix, ...]) -> tuple[Prefix, ...]:
    return networks_in_order(rest for network in networks for rest in without_prefixes(network, taken))


def _networks(event: Event) -> tuple[Prefix, ...]:
    return tuple(ip_network(text) for text in event.body["networks"])


RULES: Mapping[E, Callable[[SiteState, Event], SiteState]] = {
    E.BLOCKLIST_APPLIED: _blocklist_applied,
    E.BLOCKLIST_DEVICE_APPLIED: _device_applied,
    E.UNBLOCK_REQUESTED: _unblock_requested,
    E.UNBLOCK_GRANTED: _unblock_granted,
}
