"""Which gates of a stage hold, for which of its conversations: joins, waivers, and what is unmet for whom.

Three-valued inside, by the strong logic of Kleene: `all_of` is as good as its worst part, `any_of` as its best, in the order
lacking < inconclusive < holds; only `holds` opens. A gate that is confined to other flows or partners asks nothing of a
conversation: a join leaves it out, and a join with nothing left asks nothing either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from orchestrator.domain.gate_kinds import Answer, Asked, Lack, lack
from orchestrator.domain.gates import AllOf, AnyOf, Gate, SingleGate, single_gates
from orchestrator.domain.policy import Policy, Stage
from orchestrator.domain.stage_names import base
from orchestrator.domain.state import SiteState
from orchestrator.domain.unmet import Unmet
from orchestrator.domain.waivers import Waiver

Conversation = tuple[str | None, str | None]  # (flow, partner); (None, None) for a stage that opens nothing itself
_ORDER = (Answer.LACKING, Answer.INCONCLUSIVE, Answer.HOLDS)


@dataclass(frozen=True)
class Verdict:
    """Of a gate, or of a join of them: `lacks` is empty when it holds."""

    answer: Answer
    lacks: tuple[Lack, ...] = ()


HOLDS = Verdict(Answer.HOLDS)


def judged(gate: Gate, single: Callable[[SingleGate], Verdict | None]) -> Verdict | None:
    """The verdict of a gate by those of its single gates; None when it asks nothing (`single` says so with None)."""
    if isinstance(gate, AllOf):
        parts = _parts(gate.all_of, single)
        return _all_of(parts) if parts else None
    if isinstance(gate, AnyOf):
        parts = _parts(gate.any_of, single)
        return _any_of(parts) if parts else None
    return single(gate)


def _parts(gates: Sequence[Gate], single: Callable[[SingleGate], Verdict | None]) -> list[Verdict]:
    return [verdict for gate in gates if (verdict := judged(gate, single)) is not None]


def _all_of(parts: Sequence[Verdict]) -> Verdict:
    answer = min((part.answer for part in parts), key=_ORDER.index)
    return Verdict(answer, tuple(lack for part in parts for lack in part.lacks))


def _any_of(parts: Sequence[Verdict]) -> Verdict:
    """When none holds: one lack that names every alternative, and speaks for the one that is quickest to lift."""
    answer = max((part.answer for part in parts), key=_ORDER.index)
    if answer is Answer.HOLDS:
        return HOLDS
    if len(parts) == 1:
        return parts[0]
    quickest = min(parts, key=_lifted_after)
    takes = takes_of(quickest.lacks)
    alternatives = "; or ".join(" and ".join(lack.message for lack in part.lacks) for part in parts)
    ways = "; or ".join(_advice(part) for part in (quickest, *(part for part in parts if part is not quickest)))
    exact = takes is not None and any(lack.exact and lack.takes == takes for lack in quickest.lacks)
    return Verdict(answer, (Lack(answer, quickest.lacks[0].rule, f"one of: {alternatives}", ways, takes, exact),))


def _advice(part: Verdict) -> str:
    return " and ".join(dict.fromkeys(lack.advice for lack in part.lacks))


def takes_of(lacks: Sequence[Lack]) -> timedelta | None:
    """All of them, begun together; None when nobody can say it of one."""
    known = [lack.takes for lack in lacks if lack.takes is not None]
    return max(known, default=None) if len(known) == len(lacks) else None


def _lifted_after(part: Verdict) -> tuple[bool, timedelta]:
    takes = takes_of(part.lacks)
    return takes is None, takes or timedelta(0)


class Gates:
    """The gates of one stage at one time, asked for each of its conversations. Remembers what it has been asked."""

    def __init__(self, state: SiteState, policy: Policy, stage: Stage, now: datetime) -> None:
        self._state, self._policy, self._stage, self._now = state, policy, stage, now
        self._waivers = state.waivers_in_force(now, base(stage.name))
        self._known: dict[tuple[int, str | None, str | None], Verdict] = {}

    def lacks(self, conversations: Sequence[Conversation]) -> Iterator[tuple[Lack, Conversation]]:
        """Everything that is lacking, for each conversation that it holds back; gate by gate."""
        for gate in self._stage.gates:
            for conversation in conversations:
                verdict = judged(gate, partial(self.single, conversation=conversation))
                for one in verdict.lacks if verdict is not None else ():
                    yield one, conversation

    def single(self, gate: SingleGate, conversation: Conversation) -> Verdict | None:
        """None when the gate is confined to others."""
        flow, partner = conversation
        if (gate.flows and flow not in gate.flows) or (gate.partners and partner not in gate.partners):
            return None
        if self.waiver(gate, partner) is not None:
            return HOLDS
        application = self._policy.flow(flow).application if flow is not None else None
        key = (id(gate), application, partner)
        if key not in self._known:
            found = lack(gate, Asked(self._state, self._policy, self._stage.name, application, partner, self._now))
            self._known[key] = HOLDS if found is None else Verdict(found.answer, (found,))
        return self._known[key]

    def waiver(self, gate: SingleGate, partner: str | None) -> Waiver | None:
        """The waiver that stands for this gate now. The ratified policy has the last word on what may be waived."""
        if not gate.may_be_waived:
            return None
        fitting = (waiver for waiver in self._waivers if waiver.gate == gate.id and waiver.partner in (None, partner))
        return next(fitting, None)


def unmet(gates: Gates, conversations: Sequence[Conversation]) -> Iterator[Unmet]:
    """What the gates lack, each with the conversations that it holds back, in the order of the policy."""
    held: dict[Lack, list[Conversation]] = {}
    for one, conversation in gates.lacks(conversations):
        held.setdefault(one, []).append(conversation)
    by_partner: dict[str | None, list[Conversation]] = {}
    for item in conversations:
        by_partner.setdefault(item[1], []).append(item)
    for one, of in held.items():
        with_one = by_partner[of[0][1]] if len(by_partner) > 1 else []  # the usual case of many partners, told at once
        for flows, partners in [((), (str(of[0][1]),))] if of == with_one else scopes(of, conversations):
            yield Unmet(one.rule, one.message, one.advice, flows, partners, one.takes, one.exact)


def scopes(held: Sequence[Conversation], all_: Sequence[Conversation]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Exactly these conversations, as (flows, partners), where an empty tuple means all: by partners alone, by flows alone,
    by both, or, where that would name others too, flow by flow."""
    some = set(held)
    flows, partners = ({item[side] for item in held} for side in (0, 1))
    if some == set(all_):
        yield (), ()
    elif some == {item for item in all_ if item[1] in partners}:
        yield (), _ordered(partners, all_, 1)
    elif some == {item for item in all_ if item[0] in flows}:
        yield _ordered(flows, all_, 0), ()
    elif some == {item for item in all_ if item[0] in flows and item[1] in partners}:
        yield _ordered(flows, all_, 0), _ordered(partners, all_, 1)
    else:
        for flow in _ordered(flows, all_, 0):
            yield (flow,), tuple(partner for name, partner in held if name == flow and partner is not None)


def _ordered(names: set[str | None], all_: Sequence[Conversation], side: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for item in all_ if (name := item[side]) in names and name is not None))


@dataclass(frozen=True)
class GateStatus:
    """One single gate of a stage, for people: its worst answer over the conversations that it is asked for (None: it is
    asked for none of them), what it lacks, and the waivers that stand for it."""

    gate: SingleGate
    answer: Answer | None
    lacks: tuple[str, ...]
    waivers: tuple[Waiver, ...]


def statuses(gates: Gates, stage: Stage, conversations: Sequence[Conversation]) -> tuple[GateStatus, ...]:
    """Every single gate, joined ones included."""
    found = []
    for gate in single_gates(stage.gates):
        verdicts = [verdict for item in conversations if (verdict := gates.single(gate, item)) is not None]
        answer = min((verdict.answer for verdict in verdicts), key=_ORDER.index, default=None)
        lacks = dict.fromkeys(one.message for verdict in verdicts for one in verdict.lacks)
        standing = dict.fromkeys(waiver for _, partner in conversations if (waiver := gates.waiver(gate, partner)) is not None)
        found.append(GateStatus(gate, answer, tuple(lacks), tuple(standing)))
    return tuple(found)
