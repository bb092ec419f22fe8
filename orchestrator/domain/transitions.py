"""What the state machines share: a table of edges, the look-up whose miss is a refusal, and the diagram of the table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from orchestrator.errors import IllegalTransition

S = TypeVar("S", bound=StrEnum)
M = TypeVar("M", bound=StrEnum)  # what moves it: mostly EventType


def look_up(table: Mapping[S, Mapping[M, S]], state: S, event: M, what: str) -> S:
    """The state after `event`; raises IllegalTransition (rule `illegal-transition`), and nothing changes."""
    after = table[state].get(event)
    if after is None:
        possible = ", ".join(sorted(table[state])) or "nothing"
        raise IllegalTransition(
            f"{what} is {state}: {event} is not possible now", rule="illegal-transition", advice=f"from here: {possible}"
        )
    return after


def mermaid(table: Mapping[S, Mapping[M, S]], initial: S) -> str:
    """The table as a Mermaid state diagram; the docs hold exactly this text and a test compares them."""
    lines = ["stateDiagram-v2", *(f'    state "{state}" as {_id(state)}' for state in table), f"    [*] --> {_id(initial)}"]
    for state, edges in table.items():
        for target in dict.fromkeys(edges.values()):
            events = ", ".join(event for event, after in edges.items() if after is target)
            lines.append(f"    {_id(state)} --> {_id(target)}: {events}")
    return "\n".join(lines) + "\n"


def _id(state: StrEnum) -> str:
    return state.value.replace("-", "_")
