"""What must hold before the layer is lifted, beside the gates of the stage that lifts it.

Every other stage of the policy is open, ended by its time, or deferred by a named person: nothing becomes possible by a lift
that somebody has merely forgotten. No indicator of compromise is open. What a block list stops is accepted by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from orchestrator.domain import indicators
from orchestrator.domain.conversation_states import ConversationState
from orchestrator.domain.layer import networks_in_order
from orchestrator.domain.opened import open_conversations
from orchestrator.domain.plan import Accepted
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import SiteState
from orchestrator.domain.unmet import Unmet

ACCEPTED, WITHDRAWN = "difference-accepted", "difference-withdrawn"  # kinds of evidence
_DECIDED = frozenset({ConversationState.DEFERRED, ConversationState.ENDED})
_SETTLED = frozenset({StageState.OPEN, StageState.ENDED, StageState.DEFERRED})


def unmet_stages(state: SiteState) -> Iterator[tuple[str, Unmet]]:
    """The stages that nobody has opened or deferred, by name."""
    policy = state.ratified.policy if state.ratified is not None else None
    for other in policy.stages if policy is not None else ():
        if not other.lifts and (what := _lack(state, other.name)):
            advice = f"open {other.name}, or: orchestrator stage defer {other.name} --reason TEXT"
            yield other.name, Unmet("predecessor-not-open", what, advice)


def unmet_beside(state: SiteState, now: datetime) -> Iterator[Unmet]:
    """Indicators of compromise that are open, and what is blocked and has not been accepted by name."""
    yield from indicators.unmet(state, now)
    taken = {item.name for item in accepted(state)}
    for name in blocked(state):
        if name not in taken:
            network = name.removeprefix(BLOCKED)
            message = f"{network} is on the block list, which a lift takes off every device"
            advice = f"orchestrator block remove {network} --reason TEXT; or: orchestrator lift accept {name} --reason TEXT"
            yield Unmet("difference-not-accepted", message, advice)


def _lack(state: SiteState, name: str) -> str:
    """Why this stage holds a lift back; empty when it does not."""
    status = state.stage(name)
    if status.state in _SETTLED:
        in_rehearsal = status.state is StageState.OPEN and status.plan is not None and not state.counts(status.plan.rehearsal)
        return f"{name} was opened in a rehearsal" if in_rehearsal else ""
    if status.state is not StageState.PARTIALLY_OPEN:
        return f"{name} is {status.state}: neither open nor deferred"
    passing = open_conversations(state, name)
    left = sorted(
        f"{flow} with {partner}"
        for (flow, partner), held in status.conversations.items()
        if (flow, partner) not in passing and held not in _DECIDED
    )
    return f"{name} is partially open, and nobody has deferred {', '.join(left)}" if left else ""


BLOCKED = "blocked:"


def blocked(state: SiteState) -> tuple[str, ...]:
    """The names of what the block lists of the devices stop now: `blocked:198.51.100.7/32`."""
    networks = {*state.blocklist, *(network for device in state.devices.values() for network in device.blocked)}
    return tuple(f"{BLOCKED}{network}" for network in networks_in_order(networks))


def accepted(state: SiteState) -> tuple[Accepted, ...]:
    """The differences that people have accepted by name since this incident began, and not taken back; by name."""
    found: dict[str, Accepted] = {}
    for piece in state.evidence:
        if piece.difference is None or not state.counts(piece.rehearsal) or not state.of_this_incident(piece):
            continue
        if piece.kind == ACCEPTED:
            found[piece.difference] = Accepted(name=piece.difference, reason=piece.note, by=piece.by)
        else:
            found.pop(piece.difference, None)
    return tuple(found[name] for name in sorted(found))
