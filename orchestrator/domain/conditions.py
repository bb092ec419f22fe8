"""What must hold before a stage may be approved or applied, each with the name of its rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.domain import posture
from orchestrator.domain.gates import EvidenceGate
from orchestrator.domain.policy import Stage
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import Ratified, SiteState, StageStatus, moment
from orchestrator.errors import IllegalTransition, NotAllowed, Refused, Stale, UnknownName


@dataclass(frozen=True)
class Unmet:
    """One condition that does not hold: the rule, what is the matter, what to do.

    `flows` and `partners` are those that it holds back (empty: all of the stage). `takes` is how long until it can hold:
    exact for a wait (`exact`), else what it usually takes; None when nobody can say.
    """

    rule: str
    message: str
    advice: str
    flows: tuple[str, ...] = ()
    partners: tuple[str, ...] = ()
    takes: timedelta | None = None
    exact: bool = False


def in_force(state: SiteState) -> Ratified:
    """The ratified policy and inventory. Raises NotAllowed (rule `not-ratified`)."""
    if state.ratified is None:
        raise NotAllowed("no policy is ratified here", rule="not-ratified", advice="orchestrator policy ratify")
    return state.ratified


def declared(state: SiteState, stage: str) -> Stage:
    """The stage as the ratified policy declares it. Raises UnknownName."""
    policy = in_force(state).policy
    try:
        return policy.stage(stage)
    except KeyError:
        names = ", ".join(known.name for known in policy.stages)
        raise UnknownName(f"there is no stage {stage!r}", advice=f"the policy has {names}") from None


def partners(state: SiteState, stage: Stage) -> tuple[str, ...]:
    """The partners that a stage opens to: those of its plan, when it has one (others are deferred)."""
    plan = state.stage(stage.name).plan
    if plan is not None:
        return plan.partners
    policy = in_force(state).policy
    named = dict.fromkeys(partner for flow in stage.flows for partner in policy.flow(flow).partners)
    return tuple(partner for partner in named if stage.partners is None or partner in stage.partners)


def unmet(state: SiteState, stage: Stage, now: datetime) -> Iterator[Unmet]:
    """The conditions of the stage that do not hold now: predecessors, evidence, attestations."""
    yield from unmet_predecessors(state, stage, now)
    plan = state.stage(stage.name).plan
    flows = set(plan.flows if plan else stage.flows)
    for gate in stage.gates:
        if not isinstance(gate, EvidenceGate):
            yield Unmet(f"gate-missing:{gate.kind}", f"gates of the kind {gate.kind} are not answered", "use evidence")
            continue
        if gate.flows and flows.isdisjoint(gate.flows):
            continue
        pieces = [e for e in state.evidence if e.kind == gate.evidence and e.stage in (None, stage.name) and _counts(state, e.rehearsal)]
        if not any(gate.fresh is None or now <= moment(piece.at) + gate.fresh for piece in pieces):
            what = "is too old" if pieces else "is missing"
            yield Unmet(
                f"gate-missing:{gate.evidence}", f"{gate.title.en}: its evidence {what}",
                f"orchestrator evidence add {gate.evidence} --stage {stage.name} --file FILE",
            )  # fmt: skip
    for partner in partners(state, stage):
        if not in_force(state).policy.partner(partner).attestation:
            continue
        attestation = state.attestations.get(partner)
        if attestation is not None and not _counts(state, attestation.rehearsal):
            attestation = None
        if attestation is None or attestation.state != "accepted" or moment(attestation.valid_until) <= now:
            what = "is missing" if attestation is None else "was refused" if attestation.state != "accepted" else "has expired"
            yield Unmet(
                f"attestation-missing:{partner}", f"the attestation of remediation of {partner} {what}",
                f"orchestrator attestation add {partner} --accepted --file FILE",
            )  # fmt: skip


def unmet_predecessors(state: SiteState, stage: Stage, now: datetime) -> Iterator[Unmet]:
    """The stages that must be open before this one, and are not, or not for long enough."""
    overlay = in_force(state).policy.rehearsal
    for needed in stage.requires:
        before = state.stage(needed.stage)
        open_for = min(needed.open_for, overlay.predecessor_open_for) if overlay else needed.open_for
        if before.state is not StageState.OPEN:
            yield Unmet("predecessor-not-open", f"{needed.stage} is {before.state}, not open", f"open {needed.stage} first")
        elif before.plan is not None and not _counts(state, before.plan.rehearsal):
            yield Unmet(
                "predecessor-not-open", f"{needed.stage} was opened in a rehearsal",
                f"orchestrator stage revert {needed.stage}, then open it with votes that count",
            )  # fmt: skip
        elif now < moment(before.opened_at) + open_for:
            yield Unmet("predecessor-not-open", f"{needed.stage} has not been open for {open_for} yet", "wait")


def _counts(state: SiteState, rehearsal: bool) -> bool:
    """What was made in a rehearsal counts in a rehearsal only; what was made in earnest counts in both."""
    return state.rehearsal or not rehearsal


def require_same_keys(state: SiteState, status: StageStatus) -> None:
    """Raises Stale (rule `digest-moved`) when the people's keys were ratified anew after the plan: a key that was
    revoked meanwhile must not have the word in it."""
    if in_force(state).keys_since > status.planned_seq:
        raise Stale(
            f"the people's keys have been ratified anew since {status.name} was planned",
            rule="digest-moved",
            advice="plan it again and vote again",
        )


def require_predecessors(state: SiteState, stage: Stage, now: datetime) -> None:
    """Raises Refused (rule `predecessor-not-open`): a plan made before would not be the plan that is applied."""
    _refuse(stage, list(unmet_predecessors(state, stage, now)))


def require_all(state: SiteState, stage: Stage, now: datetime) -> None:
    """Raises Refused with the rule of the first condition that does not hold, and names the others."""
    _refuse(stage, list(unmet(state, stage, now)))


def _refuse(stage: Stage, lacking: list[Unmet]) -> None:
    if lacking:
        first, *others = lacking
        also = "".join(f"; {other.message} ({other.rule})" for other in others)
        raise Refused(f"{stage.name}: {first.message}{also}", rule=first.rule, advice=first.advice)


def require_posture(state: SiteState) -> None:
    """Raises IllegalTransition (rule `posture`) unless a cut-off is verified and none is under way."""
    if state.posture not in posture.OPENING_ALLOWED:
        raise IllegalTransition(
            f"the site is {state.posture}: nothing is opened now", rule="posture", advice="a stage is applied after a verified cut-off only"
        )
