"""Handing in what a partner's contact has signed, and the text that they sign.

The contact takes no part in our decisions and has no access: somebody of ours makes the text, carries it to them and hands
in what comes back. What counts is their key, the plan that it names, the log that they were shown, and the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from orchestrator.domain import conditions, duties, eligibility
from orchestrator.domain.commands import HandInWitness
from orchestrator.domain.duties import Verb
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import Head, NewEvent
from orchestrator.domain.making import EventMaker
from orchestrator.domain.state import SiteState, StageStatus, moment
from orchestrator.domain.statement import LogHead
from orchestrator.domain.witness import Saw, Seen, WitnessStatement, read_witness, require_witness
from orchestrator.domain.witnesses import CAN_BE_SEEN, flows_with
from orchestrator.errors import IllegalTransition, Stale, UnknownName, UsageError


def statement_of(
    state: SiteState, stage: str, partner: str, witness: str, seen: Mapping[str, Saw], seen_at: str, head: Head
) -> WitnessStatement:
    """The text for this contact: each flow of the plan with this partner, with what `seen` says of it (`""`: of the others).

    Raises UnknownName, UsageError, IllegalTransition (`nothing-to-see`).
    """
    status, ratified = _to_be_seen(state, stage), conditions.in_force(state)
    assert status.plan is not None
    flows = flows_with(ratified.policy, status.plan, partner) if partner in status.plan.partners else ()
    if not flows:
        raise UnknownName(f"{stage} opens nothing to {partner!r}", advice=f"it opens to {', '.join(status.plan.partners)}")
    if strange := sorted(set(seen) - {"", *(flow for flow, _ in flows)}):
        raise UnknownName(f"{stage} does not open {', '.join(strange)} to {partner}", advice=", ".join(dict.fromkeys(f for f, _ in flows)))
    contacts = [person.name for person in ratified.policy.people if partner in person.speaks_for]
    if witness not in contacts:
        advice = f"the policy names {', '.join(contacts)}" if contacts else f"name one under `people`, with `speaks_for: [{partner}]`"
        raise UnknownName(f"{witness!r} is no contact of {partner}", advice=advice)
    told = {flow: seen.get(flow, seen.get("", "cannot-tell")) for flow, _ in flows}
    return WitnessStatement(
        site=ratified.site.name, stage=stage, plan_digest=status.plan_digest, partner=partner, witness=witness,
        seen=tuple(Seen(flow=flow, service=service, saw=told[flow]) for flow, service in flows), seen_at=seen_at,
        log_head=LogHead(size=head.size, root=head.root),
    )  # fmt: skip


def witnessed(state: SiteState, command: HandInWitness, now: datetime) -> tuple[NewEvent, ...]:
    """PartnerWitnessed. Raises Refused (`role`, `signature`, `digest-moved`, `log-head`, `witness-time`, `nothing-to-see`)."""
    duties.require(Verb.WITNESS, eligibility.roles_of(state, command.actor, now))
    said, status, ratified = read_witness(command.statement), _to_be_seen(state, command.stage), conditions.in_force(state)
    assert status.plan is not None
    person = ratified.policy.people_by_name.get(command.signer)
    require_witness(
        said,
        signer=command.signer,
        roles=person.roles if person is not None else (),
        contact_of=person.speaks_for if person is not None else (),
        present=(ratified.site.name, command.stage, status.plan_digest),
        root_then=command.root_then,
        applied_at=command.began or now,
        now=now,
    )
    opened = set(flows_with(ratified.policy, status.plan, said.partner)) if said.partner in status.plan.partners else set()
    if strange := sorted(f"{one.flow} {one.service}" for one in said.seen if (one.flow, one.service) not in opened):
        raise UsageError(
            f"the plan of {command.stage} does not open {', '.join(strange)} to {said.partner}",
            advice=f"orchestrator check statement {command.stage} --partner {said.partner}",
        )
    before = state.witnessed.get((command.stage, said.partner))
    if before is not None and before.plan_digest == said.plan_digest and moment(said.seen_at) < moment(before.seen_at):
        later = f"what {before.witness} saw later, at {before.seen_at}, is on record"
        raise Stale(later, rule="witness-time", advice="the later one counts")
    body = {
        "partner": said.partner,
        "witness": said.witness,
        "plan_digest": said.plan_digest,
        "seen": [one.model_dump(mode="json") for one in said.seen],
        "seen_at": said.seen_at,
        "statement": command.statement,
        "signature": command.signature,
    }
    return (EventMaker(state, command.actor, now)(E.PARTNER_WITNESSED, body, stage=command.stage),)


def _to_be_seen(state: SiteState, stage: str) -> StageStatus:
    conditions.declared(state, stage)
    status = state.stage(stage)
    if status.state not in CAN_BE_SEEN or status.plan is None:
        raise IllegalTransition(
            f"{stage} is {status.state}: nobody can have seen what it opens", rule="nothing-to-see", advice="once it is verified or open"
        )
    return status
