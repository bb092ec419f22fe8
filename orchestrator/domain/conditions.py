"""What must hold before a stage may be approved or applied, each with the name of its rule."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from orchestrator.domain import gate_answers, lift_conditions, posture, resumption, stage_names
from orchestrator.domain.attestations import Way
from orchestrator.domain.gate_answers import Conversation, Gates
from orchestrator.domain.gate_kinds import USUALLY, attestation_lack, predecessor_lack
from orchestrator.domain.policy import Stage
from orchestrator.domain.state import Ratified, SiteState, StageStatus
from orchestrator.domain.unmet import Unmet as Unmet
from orchestrator.errors import IllegalTransition, NotAllowed, Refused, Stale, UnknownName


def in_force(state: SiteState) -> Ratified:
    """The ratified policy and inventory. Raises NotAllowed (rule `not-ratified`)."""
    if state.ratified is None:
        raise NotAllowed("no policy is ratified here", rule="not-ratified", advice="orchestrator policy ratify")
    return state.ratified


def declared(state: SiteState, stage: str) -> Stage:
    """The stage as the ratified policy declares it; a supplement as its stage, under its own name; the resumption after a false
    alarm as if it were one. Raises UnknownName."""
    policy = in_force(state).policy
    if stage == stage_names.RESUME:
        return resumption.as_stage(policy)
    try:
        found = policy.stage(stage_names.base(stage))
        return found.model_copy(update={"name": stage}) if stage_names.is_supplement(stage) else found
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


def conversations(state: SiteState, stage: Stage) -> tuple[Conversation, ...]:
    """(flow, partner) of everything that the stage declares, in order; (None, None) for a stage that opens nothing itself."""
    policy = in_force(state).policy
    pairs = ((name, partner) for name in stage.flows for partner in policy.flow(name).partners)
    return tuple(pair for pair in pairs if stage.partners is None or pair[1] in stage.partners) or ((None, None),)


def flows_to(state: SiteState, stage: Stage, partners: Collection[str] | None) -> tuple[str, ...]:
    """The stage's flows that concern these partners (None: all of them)."""
    pairs = conversations(state, stage)
    return tuple(dict.fromkeys(flow for flow, partner in pairs if flow is not None and (partners is None or partner in partners)))


def asked_for(state: SiteState, stage: Stage) -> tuple[Conversation, ...]:
    """Those of its plan, when it has one: the others are deferred."""
    plan = state.stage(stage.name).plan
    declared_ = conversations(state, stage)
    return (
        declared_
        if plan is None or not stage.flows
        else tuple(pair for pair in declared_ if pair[0] in plan.flows and pair[1] in plan.partners)
    )


def unmet(state: SiteState, stage: Stage, now: datetime) -> Iterator[Unmet]:
    """The conditions of the stage that do not hold now, and whom each holds back: predecessors, gates, attestations."""
    if stage.name == stage_names.RESUME:
        yield from _unmet_resumption(state, now)
        return
    if stage.lifts:
        yield from lift_conditions.unmet_beside(state, now)
    concerned = asked_for(state, stage)
    yield from unmet_predecessors(state, stage, now, [flow for flow, _ in concerned if flow is not None])
    yield from gate_answers.unmet(gates(state, stage, now), concerned)
    yield from unmet_attestations(state, concerned, now)


def _unmet_resumption(state: SiteState, now: datetime) -> Iterator[Unmet]:
    """Of the resumption itself, and of every stage that it resumes: they count as open for those that follow them."""
    yield from resumption.unmet(state, now)
    plan = state.stage(stage_names.RESUME).plan
    names = [item.stage for item in (plan.resumes if plan is not None else ())]
    as_open = resumption.as_if_open(state, names)
    for name in names:
        for item in unmet(as_open, declared(as_open, name), now):
            yield replace(item, message=f"{name}: {item.message}")


def gates(state: SiteState, stage: Stage, now: datetime) -> Gates:
    """The gates of the stage, to be asked."""
    return Gates(state, in_force(state).policy, stage, now)


def unmet_attestations(state: SiteState, concerned: Sequence[Conversation], now: datetime) -> Iterator[Unmet]:
    """Those that a partner's entry in the policy asks for, whatever the stage: theirs by us, ours by them. They are no gates,
    so no waiver stands for them; a partner without them is deferred."""
    policy = in_force(state).policy
    for name in dict.fromkeys(partner for _, partner in concerned if partner is not None):
        partner = policy.partner(name)
        asked: tuple[tuple[bool, Way, str], ...] = (
            (partner.attestation, "theirs", f"attestation-missing:{name}"),
            (partner.our_attestation, "ours", f"attestation-missing:{name}:ours"),
        )
        for wanted, way, rule in asked:
            found = attestation_lack(state, name, way, now) if wanted else None
            if found is not None:
                yield Unmet(rule, *found, partners=(name,), takes=USUALLY["attestation"])


def unmet_predecessors(state: SiteState, stage: Stage, now: datetime, flows: Collection[str] | None = None) -> Iterator[Unmet]:
    """The stages that must be open before this one, and are not, or not for long enough. `flows`: of what is opened now
    (None: all that the stage declares); a predecessor of others only holds nothing back."""
    if stage.lifts:  # it waits for all stages, open or deferred
        yield from (item for _, item in lift_conditions.unmet_stages(state))
        return
    opened = stage.flows if flows is None else tuple(name for name in stage.flows if name in flows)
    for needed in stage.requires:
        confined = tuple(name for name in needed.flows if name in opened)
        found = predecessor_lack(state, needed.stage, needed.open_for, now) if confined or not needed.flows else None
        if found is not None:
            what, advice, wait = found
            yield Unmet("predecessor-not-open", what, advice, flows=confined, takes=wait, exact=wait is not None)


def keys_since(state: SiteState, person: str) -> int:
    """What this person asked for before this event is asked again: the keys were ratified anew, or one of theirs was taken away."""
    return max(in_force(state).keys_since, state.keys.last_revoked(person))


def require_same_keys(state: SiteState, status: StageStatus) -> None:
    """Raises Stale (rule `digest-moved`) when the people's keys were ratified anew after the plan: a key that was
    revoked meanwhile must not have the word in it."""
    if in_force(state).keys_since > status.planned_seq:
        raise Stale(
            f"the people's keys have been ratified anew since {status.name} was planned",
            rule="digest-moved",
            advice="plan it again and vote again",
        )


def require_predecessors(state: SiteState, stage: Stage, now: datetime, flows: Collection[str] | None = None) -> None:
    """Raises Refused (rule `predecessor-not-open`): a plan made before would not be the plan that is applied. `flows`: as
    for `unmet_predecessors`."""
    _refuse(stage, list(unmet_predecessors(state, stage, now, flows)))


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
