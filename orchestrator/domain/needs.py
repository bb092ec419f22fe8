"""What is open by the log, conversation by conversation, and what each of them needs of the devices on its way.

By the ratified policy and the routes of the inventory. What cannot be worked out any more (the flow has left the policy,
its routes lead nowhere) needs nothing of a flow device: whoever closes by this closes more, never less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from orchestrator.domain.compile import elements_along
from orchestrator.domain.conversation_states import ConversationState
from orchestrator.domain.element_index import ElementIndex
from orchestrator.domain.layer import Element
from orchestrator.domain.policy import Flow, Partner
from orchestrator.domain.stages import LETS_THROUGH, RUNNING, StageState
from orchestrator.domain.state import Ratified, SiteState, StageStatus
from orchestrator.domain.subtractions import Conversation
from orchestrator.domain.topology import Hop, crossings

LIVES = frozenset({ConversationState.OPENING, ConversationState.OPEN})


class Held(NamedTuple):
    """A conversation that a stage holds open, or is about to."""

    stage: str
    flow: str
    partner: str

    @property
    def conversation(self) -> Conversation:
        return self.flow, self.partner


def living(status: StageStatus) -> tuple[Conversation, ...]:
    """The conversations that the stage holds open or is opening."""
    if status.state not in LETS_THROUGH | RUNNING - {StageState.REVERTING}:
        return ()
    return tuple(pair for pair, held in status.conversations.items() if held in LIVES)


def all_living(state: SiteState) -> tuple[Held, ...]:
    return tuple(Held(status.name, *pair) for status in state.stages.values() for pair in living(status))


class Needs:
    """Asked often about few conversations: each is worked out once."""

    def __init__(self, ratified: Ratified) -> None:
        self._ratified = ratified
        self._ways: dict[Conversation, tuple[tuple[Hop, ...], ...] | None] = {}
        self._elements: dict[Conversation, dict[str, tuple[Element, ...]]] = {}

    def elements(self, conversation: Conversation, device: str) -> tuple[Element, ...]:
        """What must pass the device for it."""
        if conversation not in self._elements:
            parties = self._parties(conversation)
            try:
                ways = crossings(self._ratified.site, *parties) if parties is not None else {}
            except KeyError:
                ways = {}
            self._elements[conversation] = elements_along(self._ratified.site, parties[0], ways) if parties is not None else {}
        return self._elements[conversation].get(device, ())

    def crosses(self, conversation: Conversation, device: str, guard: str) -> bool:
        """Whether it enters or leaves the device by this guard; yes, when nobody can say."""
        if conversation not in self._ways:
            parties = self._parties(conversation)
            try:
                self._ways[conversation] = tuple(crossings(self._ratified.site, *parties).values()) if parties is not None else None
            except KeyError:
                self._ways[conversation] = None
        ways = self._ways[conversation]
        if ways is None:
            return True
        return any(hop.device == device and guard in (hop.enters, hop.leaves) for hops in ways for hop in hops)

    def index(self, conversations: Iterable[Conversation], device: str) -> ElementIndex:
        """All that these need of the device."""
        return ElementIndex(element for pair in conversations for element in self.elements(pair, device))

    def taken(self, elements: Iterable[Element], device: str, among: Iterable[Held]) -> Iterator[Held]:
        """Those that need a packet of one of these elements there."""
        listed = tuple(elements)
        for held in among if listed else ():
            needed = ElementIndex(self.elements(held.conversation, device))
            if any(True for element in listed for _ in needed.overlapping(element)):
                yield held

    def _parties(self, conversation: Conversation) -> tuple[Flow, Partner] | None:
        policy = self._ratified.policy
        flow, partner = policy.flows_by_name.get(conversation[0]), policy.partners_by_name.get(conversation[1])
        return None if flow is None or partner is None else (flow, partner)
