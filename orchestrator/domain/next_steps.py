"""What can be opened now, in which order, and for everything else why not, what is quickest to lift, and how early.

A stage is planned for partners, so a partner of a stage can be opened when every flow of the stage to them can. What
holds the others back comes from the same conditions that refuse (`conditions`), never from a second opinion.

How early: all that lacks is begun now, side by side; a predecessor takes its own earliest time, its observation and the
time that it has to be open for. Where a figure is what something usually takes, the result is an estimate and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator.domain import conditions, eligibility, gate_answers, lift_conditions, plannable, stages
from orchestrator.domain.duties import ROLES_OF, Verb
from orchestrator.domain.events import EventType as E
from orchestrator.domain.gate_answers import Conversation
from orchestrator.domain.gates import PredecessorGate, single_gates
from orchestrator.domain.making import stamp
from orchestrator.domain.opened import open_conversations
from orchestrator.domain.policy import Criteria, Policy, Stage
from orchestrator.domain.policy_words import Level, Role
from orchestrator.domain.posture import OPENING_ALLOWED, SitePosture
from orchestrator.domain.stages import StageState
from orchestrator.domain.standing import Standing
from orchestrator.domain.state import SiteState, StageStatus, moment
from orchestrator.domain.unmet import Unmet
from orchestrator.domain.votes import missing

HOW_EN = "care, highest first; then volume, highest first; then risk, lowest first; then the order of the policy"
HOW_FR = (
    "criticité pour les soins, la plus haute d'abord ; puis volume, le plus haut d'abord ; puis risque, le plus bas d'abord ;"
    " puis l'ordre de la politique"
)
_RANK = {Level.LOW: 0, Level.MEDIUM: 1, Level.HIGH: 2, Level.VITAL: 3}


@dataclass(frozen=True)
class Opening:
    """One flow to one partner that can be opened now."""

    stage: str
    flow: str
    partner: str
    application: str
    criteria: Criteria


@dataclass(frozen=True)
class Lack:
    """One thing that holds something back. `lifted_at`: when it could be lifted at the earliest; None when nobody can say.
    `exact`: no guess is in it. `stage`: the predecessor that it waits for. `never`: nothing lifts it."""

    unmet: Unmet
    lifted_at: datetime | None
    exact: bool
    stage: str | None = None
    never: bool = False

    def holds_back(self, conversation: Conversation) -> bool:
        flow, partner = conversation
        return (not self.unmet.flows or flow in self.unmet.flows) and (not self.unmet.partners or partner in self.unmet.partners)


@dataclass(frozen=True)
class StageNext:
    """One stage. `step`: what comes next for it: `plan` (also again, where its plan would be refused), `vote`, `apply`, `wait`
    (it is under way), `revert`, `done`, or `not-yet` (something that it lacks first). `votes`: role → who could vote now, of
    what is still needed.

    `openings` can be opened now; `held` cannot, because of `lacks`; `quickest` of these is lifted first. `earliest`: when
    a first part of it could be applied, None when nobody can say; `exact` as in `Lack`. `unreachable`: why it never opens.
    """

    stage: Stage
    state: StageState
    step: str
    advice: str
    votes: Mapping[Role, tuple[str, ...]]
    openings: tuple[Opening, ...] = ()
    held: tuple[Conversation, ...] = ()
    lacks: tuple[Lack, ...] = ()
    quickest: Lack | None = None
    earliest: datetime | None = None
    exact: bool = False
    unreachable: str = ""


@dataclass(frozen=True)
class NextSteps:
    """`everywhere` holds back all stages alike. `openings` are in the order of the criteria, over all stages."""

    at: datetime
    everywhere: tuple[Lack, ...]
    openings: tuple[Opening, ...]
    stages: tuple[StageNext, ...]


def next_steps(state: SiteState, now: datetime) -> NextSteps:
    """Raises NotAllowed (rule `not-ratified`)."""
    return _Looking(state, now).all()


class _Looking:
    """One look at one state. Remembers what it has found out about each stage."""

    def __init__(self, state: SiteState, now: datetime) -> None:
        self._state, self._now = state, now
        self._policy: Policy = conditions.in_force(state).policy
        self._everywhere = tuple(self._obstacles())
        self._proposers = [
            person.name for person in self._policy.people if ROLES_OF[Verb.PLAN] & eligibility.roles_of(state, person.name, now)
        ]
        self._known: dict[str, StageNext] = {}
        self._asked: set[str] = set()  # in the middle of: a cycle, which `policy check` refuses, ends here

    def all(self) -> NextSteps:
        found = tuple(self.stage(stage) for stage in self._policy.stages)
        openings = sorted((opening for item in found for opening in item.openings), key=_order)
        return NextSteps(self._now, self._everywhere, tuple(openings), found)

    def stage(self, stage: Stage) -> StageNext:
        if stage.name not in self._known:
            self._asked.add(stage.name)
            self._known[stage.name] = self._looked_at(stage)
            self._asked.discard(stage.name)
        return self._known[stage.name]

    def _looked_at(self, stage: Stage) -> StageNext:
        status = self._state.stage(stage.name)
        if status.state in stages.RUNNING:
            return StageNext(stage, status.state, "wait", "it is under way: orchestrator stage show " + stage.name, {})
        conversations = conditions.conversations(self._state, stage)
        if status.state in stages.LETS_THROUGH:
            return self._open(stage, status, conversations)
        if E.STAGE_PLANNED not in stages.TABLE[status.state]:
            return StageNext(stage, status.state, "revert", f"orchestrator stage revert {stage.name}", {}, held=conversations)
        own = tuple(self._lacks(stage, status, conversations))
        own += tuple(self._not_planned(stage, status, _without(conversations, _held(conversations, own))))
        lacks = (*self._everywhere, *own, *self._not_begun(status))
        held = _held(conversations, lacks)
        ready = _without(conversations, held)
        times = [[lack for lack in lacks if lack.holds_back(pair)] for pair in conversations]
        earliest, exact = _earliest(times, self._now)
        before_applying = _held(conversations, own)  # a plan and its votes wait for nothing else
        step, advice = self._step(stage, status, _without(conversations, before_applying))
        possible = [lack for lack in lacks if lack.lifted_at is not None]
        never = [lack for lack in lacks if lack.never]
        return StageNext(
            stage=stage,
            state=status.state,
            step=step,
            advice=advice,
            votes=self._votes(stage, StageStatus(stage.name) if step == "plan" else status),
            openings=tuple(sorted((self._opening(stage, pair) for pair in ready if pair[0] is not None), key=_order)),
            held=held,
            lacks=lacks,
            quickest=min(possible, key=lambda lack: lack.lifted_at or self._now, default=None),
            earliest=earliest,
            exact=exact,
            unreachable=never[0].unmet.message if never and all(any(lack.never for lack in of) for of in times) else "",
        )

    # --- what is open ---------------------------------------------------------------------------------------------

    def _open(self, stage: Stage, status: StageStatus, conversations: tuple[Conversation, ...]) -> StageNext:
        """Who was deferred, or closed alone since, waits for a supplement: the stage is planned again beside what is open."""
        passing = open_conversations(self._state, stage.name)
        left = tuple(pair for pair in conversations if pair not in passing)
        dated = " --from TIME --until TIME" if stage.window is not None else ""
        advice = f"orchestrator stage plan {stage.name} --partner …{dated} for those that are left" if left else ""
        return StageNext(stage, status.state, "done", advice, {}, held=left)

    # --- what holds back ------------------------------------------------------------------------------------------

    def _obstacles(self) -> Iterator[Lack]:
        """What holds back every stage."""
        if self._state.posture is SitePosture.NORMAL:
            unmet = Unmet("nothing-is-cut", "nothing is cut: there is nothing to reopen", "orchestrator cutoff, when it has to be")
            yield Lack(unmet, None, exact=False)
        elif self._state.posture not in OPENING_ALLOWED:
            message = f"the site is {self._state.posture}: nothing is opened before a cut-off is verified"
            yield Lack(Unmet("posture", message, "orchestrator status; then cut off again, until it is verified"), None, exact=False)
        for status in self._state.stages.values():
            if status.state in stages.RUNNING:
                message = f"{status.name} is {status.state}: one stage at a time"
                yield self._lack(Unmet("another-stage-runs", message, "wait for its end"), self._ends(status), exact=False)

    def _ends(self, status: StageStatus) -> datetime | None:
        """When a stage under way has been observed; None while it closes."""
        if status.plan is None or status.state is StageState.REVERTING:
            return None
        begun = moment(status.since) if status.state is StageState.OBSERVING else self._now
        return max(self._now, begun + timedelta(seconds=status.plan.observation_s))

    def _lacks(self, stage: Stage, status: StageStatus, conversations: tuple[Conversation, ...]) -> Iterator[Lack]:
        state, now = self._state, self._now
        for needed in stage.requires if not stage.lifts else ():
            confined = stage.model_copy(update={"requires": (needed,)})
            for unmet in conditions.unmet_predecessors(state, confined, now):
                yield self._waits(unmet, needed.stage, needed.open_for)
        gates = {gate.id: gate for gate in single_gates(stage.gates)}
        for unmet in gate_answers.unmet(conditions.gates(state, stage, now), conversations):
            gate = gates.get(unmet.rule.partition(":")[2])
            if isinstance(gate, PredecessorGate):
                yield self._waits(unmet, gate.predecessor, gate.open_for)
            else:
                over = unmet.rule == "gate-missing:window" and unmet.takes is None
                yield self._usual(unmet, never=over)
        for unmet in conditions.unmet_attestations(state, conversations, now):
            yield self._usual(unmet)
        for before, unmet in lift_conditions.unmet_stages(state) if stage.lifts else ():
            yield self._waits(unmet, before, timedelta(0))
        for unmet in lift_conditions.unmet_beside(state, now) if stage.lifts else ():
            yield self._usual(unmet)
        yield from self._no_quorum(stage, status)

    def _not_begun(self, status: StageStatus) -> Iterator[Lack]:
        """The window of its plan, before its start: a plan and its votes do not wait for that."""
        begins = _begins(status)
        if begins is not None and begins > self._now:
            unmet = Unmet("window-not-begun", f"its window begins at {stamp(begins)}", "once approved, it opens by itself then")
            yield self._lack(unmet, begins, exact=True)

    def _not_planned(self, stage: Stage, status: StageStatus, ready: list[Conversation]) -> Iterator[Lack]:
        """What the planner itself would refuse, asked when nothing else holds these back."""
        if ready and status.state not in stages.VOTING and self._state.posture is not SitePosture.NORMAL:
            partners = dict.fromkeys(partner for _, partner in ready if partner is not None)
            unmet = plannable.obstacle(self._state, stage.name, partners)
            if unmet is not None:
                yield Lack(replace(unmet, partners=tuple(partners)), None, exact=False)

    def _usual(self, unmet: Unmet, *, never: bool = False) -> Lack:
        return self._lack(unmet, self._now + unmet.takes if unmet.takes is not None else None, exact=unmet.exact, never=never)

    def _lack(self, unmet: Unmet, lifted_at: datetime | None, *, exact: bool, never: bool = False) -> Lack:
        return Lack(unmet, lifted_at, exact=exact and lifted_at is not None, never=never)

    def _waits(self, unmet: Unmet, before: str, open_for: timedelta) -> Lack:
        """For a predecessor: until it is open, and for so long."""
        if unmet.takes is not None:  # it is open, not for long enough
            return Lack(unmet, self._now + unmet.takes, exact=unmet.exact, stage=before)
        overlay = self._policy.rehearsal
        needed = min(open_for, overlay.predecessor_open_for) if overlay else open_for
        status = self._state.stage(before)
        if before in self._asked:
            return Lack(unmet, None, exact=False, stage=before, never=True)
        if status.state in stages.RUNNING:
            ends = self._ends(status)
            return Lack(unmet, ends + needed if ends is not None else None, exact=False, stage=before)
        found = self.stage(self._policy.stage(before))
        observed = overlay.observation if overlay else found.stage.observation
        lifted = found.earliest + observed + needed if found.earliest is not None else None
        if found.unreachable:
            unmet = replace(unmet, message=f"{before} never opens: {found.unreachable}")
        return Lack(unmet, lifted, exact=False, stage=before, never=bool(found.unreachable))  # its votes are nobody's promise

    # --- people ---------------------------------------------------------------------------------------------------

    def _eligible(self, stage: Stage, status: StageStatus, proposer: str) -> dict[str, Standing]:
        """Who could vote now on a plan of this proposer, and as what."""
        present = StageStatus(stage.name, proposer=proposer, votes=status.votes if status.state in stages.VOTING else {})
        found = {
            person.name: eligibility.standing_on(self._state, stage, person.name, self._now).without(
                eligibility.spent(present, person.name)
            )
            for person in self._policy.people
            if person.name != proposer
        }
        return {name: item for name, item in found.items() if item.roles}

    def _no_quorum(self, stage: Stage, status: StageStatus) -> Iterator[Lack]:
        """Whoever proposes, the others could fill every place now; else nothing is worth beginning."""
        voting = status.state in stages.VOTING
        given = eligibility.voters(self._state, stage, status) if voting else {}
        proposers = [status.proposer] if voting else self._proposers
        short = None
        for proposer in proposers:
            lacking = missing(stage.votes, {**self._eligible(stage, status, proposer), **given})
            if not lacking:
                return
            short = short or lacking
        who = ", ".join(f"{count} {role.value}" for role, count in short.items()) if short else "somebody who plans it"
        advice = "orchestrator delegation grant, by somebody who holds the role; or wait for a delegation or a turn of duty to begin"
        yield Lack(Unmet("votes-missing", f"nobody could fill these places now: {who}", advice), None, exact=False)

    def _votes(self, stage: Stage, status: StageStatus) -> dict[Role, tuple[str, ...]]:
        """Of the roles that are still needed, who could give them and has not voted."""
        voting = status.state in stages.VOTING
        given = eligibility.voters(self._state, stage, status) if voting else {}
        eligible = self._eligible(stage, status, status.proposer if voting else "")
        return {
            role: tuple(name for name, item in eligible.items() if role in item.roles and not (voting and name in status.votes))
            for role in missing(stage.votes, given)
        }

    # --- steps ----------------------------------------------------------------------------------------------------

    def _step(self, stage: Stage, status: StageStatus, ready: list[Conversation]) -> tuple[str, str]:
        if not ready or self._state.posture is SitePosture.NORMAL:
            return "not-yet", f"orchestrator stage show {stage.name}"
        if status.state not in stages.VOTING or plannable.moved(self._state, status):
            return "plan", self._plan(stage, ready)
        if not set(conditions.asked_for(self._state, stage)) <= set(ready):  # it opens to all of its partners or to none
            return "plan", f"{self._plan(stage, ready)} (without those held back, votes anew), or lift what holds them back"
        if status.state is not StageState.APPROVED:
            return "vote", f"orchestrator stage vote {stage.name} --key FILE"
        if _begins(status) is not None:
            return "wait", f"it opens by itself when its window begins: orchestrator stage show {stage.name}"
        if self._everywhere:
            return "not-yet", self._everywhere[0].unmet.advice
        return "apply", f"orchestrator stage apply {stage.name}"

    def _plan(self, stage: Stage, ready: list[Conversation]) -> str:
        partners = list(dict.fromkeys(partner for _, partner in ready if partner is not None))
        if stage.window is not None:
            return f"orchestrator stage plan {stage.name} --partner {partners[0]} --from TIME --until TIME"
        everybody = {partner for _, partner in conditions.conversations(self._state, stage)}
        only = "" if everybody == set(partners) else "".join(f" --partner {partner}" for partner in partners)
        return f"orchestrator stage plan {stage.name}{only}"

    def _opening(self, stage: Stage, pair: Conversation) -> Opening:
        flow, partner = pair
        assert flow is not None  # a stage that lifts the layer opens none
        assert partner is not None
        application = self._policy.application(self._policy.flow(flow).application)
        return Opening(stage.name, flow, partner, application.name, application.criteria)


def _begins(status: StageStatus) -> datetime | None:
    """When the dated window that is voted on, or approved, begins."""
    window = status.plan.window if status.plan is not None and status.state in stages.VOTING else None
    return moment(window.starts) if window is not None else None


def _without(conversations: tuple[Conversation, ...], held: tuple[Conversation, ...]) -> list[Conversation]:
    taken = set(held)
    return [pair for pair in conversations if pair not in taken]


def _held(conversations: tuple[Conversation, ...], lacks: tuple[Lack, ...]) -> tuple[Conversation, ...]:
    """Those that lack something, and the others to the same partner: one plan opens to a partner all that its stage does."""
    lacking = {pair for pair in conversations if any(lack.holds_back(pair) for lack in lacks)}
    partners = {partner for _, partner in lacking}
    return tuple(pair for pair in conversations if pair in lacking or pair[1] in partners)


def _earliest(lacks_of: list[list[Lack]], now: datetime) -> tuple[datetime | None, bool]:
    """When the first conversation lacks nothing more, and whether no guess is in that."""
    found: list[tuple[datetime, bool]] = []
    for lacks in lacks_of:
        times = [lack.lifted_at for lack in lacks if lack.lifted_at is not None]
        if len(times) == len(lacks):
            latest = max(times, default=now)
            found.append((latest, all(lack.exact for lack in lacks)))
    return min(found, key=lambda item: item[0]) if found else (None, False)


def _order(opening: Opening) -> tuple[int, int, int]:
    """Sorting is stable: what is equal here stays in the order of the policy."""
    criteria = opening.criteria
    return -_RANK[criteria.care], -_RANK[criteria.volume], _RANK[criteria.risk]
