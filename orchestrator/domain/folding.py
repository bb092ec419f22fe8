"""The state of the site, computed from the log and from nothing else: `state = fold(events)`, `apply` for one more.

Everything is frozen; `apply` returns a new state and shares what did not change. An event that no rule here knows
changes nothing but `seq`. Raises IllegalTransition for a log whose events contradict the tables (`stages`, `posture`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

from orchestrator.domain import (
    conversation_states,
    device_step_states,
    folding_blocklist,
    folding_delegations,
    folding_drift,
    folding_incidents,
    folding_people,
    folding_records,
    folding_reisolation,
    folding_resume,
    folding_windows,
    stages,
)
from orchestrator.domain import posture as postures
from orchestrator.domain.conversation_states import ConversationState, Move
from orchestrator.domain.device_step_states import DeviceStepState
from orchestrator.domain.device_step_states import Move as DeviceMove
from orchestrator.domain.events import Event
from orchestrator.domain.events import EventType as E
from orchestrator.domain.layer import DeviceChange, ordered
from orchestrator.domain.network import Site
from orchestrator.domain.plan import Plan
from orchestrator.domain.policy import Policy
from orchestrator.domain.posture import SitePosture
from orchestrator.domain.stage_names import RESUME, conversations_of
from orchestrator.domain.state import Cutoff, DeviceStatus, Ratified, SiteState, StageStatus, Vote


def fold(events: Iterable[Event], state: SiteState | None = None) -> SiteState:
    """The state after the events, starting from `state` (default: nothing has ever happened)."""
    state = state or SiteState()
    for event in events:
        state = apply(state, event)
    return state


def apply(state: SiteState, event: Event) -> SiteState:
    """The state after one more event."""
    if event.type in _OF_CUTS:
        state = folding_incidents.cut(state, event)
    rule = _RULES.get(event.type)
    if rule is not None:
        state = rule(state, event)
    if event.stage is not None and event.type in stages.MOVES_A_STAGE:
        state = _with_stage(state, _moved(state.stage(event.stage), event))
    return replace(state, seq=event.seq)


# --- rules: what an event means -----------------------------------------------------------------------------------


def _policy_ratified(state: SiteState, event: Event) -> SiteState:
    body, before, keys = event.body, state.ratified, state.keys.after(event)
    same_keys = before is not None and keys.effective == state.keys.effective
    ratified = Ratified(
        policy=Policy.model_validate(body["policy"]),
        site=Site.model_validate(body["inventory"]),
        policy_digest=body["policy_digest"],
        inventory_digest=body["inventory_digest"],
        allowed_signers=body["allowed_signers"],
        at=event.at,
        seq=event.seq,
        keys_since=before.keys_since if before is not None and same_keys else event.seq,
        keys_at=before.keys_at if before is not None and same_keys else event.at,
    )
    return replace(state, ratified=ratified, keys=keys)


def _cutoff_ordered(state: SiteState, event: Event) -> SiteState:
    """Suspends what it touches. `devices` in the body confines that to the stages with a part on one of them.

    An order that is known already (its outcome reached the log before it, from the spool) changes nothing.
    """
    epoch = _epoch(event)
    if state.last_cutoff is not None and epoch <= state.last_cutoff.epoch:
        return state
    before = state
    touched = event.body.get("devices") if event.type is E.CUTOFF_ORDERED else None
    cutoff = Cutoff(str(event.body.get("profile", "")), epoch, event.at, event.actor)
    if state.posture is SitePosture.NORMAL or not state.incident_since:
        state = replace(state, incident_since=event.at, incident_seq=event.seq)
    state = replace(_with_posture(state, event, E.CUTOFF_ORDERED), epoch=max(state.epoch, epoch), last_cutoff=cutoff)
    for status in state.stages.values():
        on = {device.device for device in status.plan.devices} if status.plan else set()
        if touched is None or status.state in stages.RUNNING | stages.VOTING or on & set(touched):
            moved = stages.after(status.state, E.CUTOFF_ORDERED, status.name)
            if moved is not status.state:
                conversations = _conversations(status, conversation_states.Move.CUT)
                moved_to = replace(status, state=moved, conversations=conversations, since=event.at, detail="a cut-off came")
                state = _with_stage(state, moved_to)
    return folding_resume.interrupted(before, state, event, epoch)


def _cutoff_applied(state: SiteState, event: Event) -> SiteState:
    """Where the layer was laid, nothing of ours is open any more."""
    state = _cutoff_ordered(state, event)  # an outcome proves its order, wherever that was recorded
    device = state.device(str(event.device))
    if device.laid_epoch is not None and _epoch(event) < device.laid_epoch:
        return state  # a late entry from the spool: a later cut-off has been there since
    step = str(event.body["step"])
    device = replace(device, step=_stepped(device, _READ_BACK[step]), since=event.at)
    if event.body.get("laid", step == "applied"):
        device = replace(
            device,
            slots={**device.slots, **event.body["slots"]},
            epoch=max(_epoch(event), device.epoch or 0),  # a fence may have been faster
            laid_epoch=_epoch(event),
            openings={},
            releases={},
            pending={},
            hanging=frozenset(),
            deadlines={},
            fingerprint=event.body.get("fingerprint", ""),
        )
    return _with_device(state, device)


def _cutoff_ended(state: SiteState, event: Event) -> SiteState:
    state = _cutoff_ordered(state, event)
    if state.last_cutoff is None or _epoch(event) < state.last_cutoff.epoch or event.type not in postures.TABLE[state.posture]:
        return state  # late: the site has moved on since
    verdict: Literal["verified", "partial"] = "verified" if event.type is E.CUTOFF_VERIFIED else "partial"
    return replace(_with_posture(state, event), last_cutoff=replace(state.last_cutoff, verdict=verdict))


def _epoch(event: Event) -> int:
    return int(event.body["epoch"])


def _layer_lifted(state: SiteState, event: Event) -> SiteState:
    """Of one device, or (without a device) of all; the posture moves when no device holds a layer any more."""
    for device in list(state.devices.values()):
        if event.device in (None, device.name):
            state = _with_device(state, replace(DeviceStatus(device.name), step=device.step, since=event.at))
    lifted = state.posture is not SitePosture.SURVEILLANCE and not any(device.slots for device in state.devices.values())
    return _with_posture(state, event) if lifted else state


def _stage_planned(state: SiteState, event: Event) -> SiteState:
    body = event.body
    status = replace(
        state.stage(str(event.stage)),
        plan=Plan.model_validate(body["plan"]),
        plan_digest=body["plan_digest"],
        conversations=_planned_conversations(state, str(event.stage), Plan.model_validate(body["plan"])),
        ends_at="",
        warned_h=0,
        end_passed="",
        proposer=event.actor,
        planned_at=event.at,
        planned_seq=event.seq,
        votes={},
        opened_at="",
    )
    return _with_stage(state, status)


def _vote_cast(state: SiteState, event: Event) -> SiteState:
    body = event.body
    status = state.stage(str(event.stage))
    vote = Vote(
        body["person"], body["choice"], tuple(body.get("roles", ())), body.get("reason", ""),
        body["statement"], body["signature"], event.at, event.seq, body.get("key", {}).get("user_verified"),
    )  # fmt: skip
    return _with_stage(state, replace(status, votes={**status.votes, vote.person: vote}))


def _votes_voided(state: SiteState, event: Event) -> SiteState:
    """All of them, or those of one `person`, whose key was taken away."""
    status, person = state.stage(str(event.stage)), event.body.get("person")
    left = {name: vote for name, vote in status.votes.items() if name != person} if person else {}
    return _with_stage(state, replace(status, votes=left))


def _stage_applying(state: SiteState, event: Event) -> SiteState:
    return _with_posture(folding_resume.applied(state) if event.stage == RESUME else state, event)


def _stage_opened(state: SiteState, event: Event) -> SiteState:
    """Since when: the first time, where a supplement makes it whole."""
    status = state.stage(str(event.stage))
    return _with_stage(state, replace(status, opened_at=status.opened_at or event.at, ends_at=event.body.get("ends_at", status.ends_at)))


def _change_intended(state: SiteState, event: Event) -> SiteState:
    """From the intent on, the opening may lie on the device, whatever the answer will be."""
    if event.device is None:
        return state
    opens = event.body["action"] in _OPENS
    device = state.device(event.device)
    move = DeviceMove.INTEND_TO_OPEN if opens else DeviceMove.INTEND_TO_CLOSE
    hanging = device.hanging | {event.stage} if opens and event.stage is not None else device.hanging
    device = replace(device, step=_stepped(device, move), hanging=hanging, since=event.at)
    if event.body["action"] not in ("open", "loosen") or event.stage is None:
        return _with_device(state, device)
    change = DeviceChange.model_validate(event.body["change"])
    return _with_device(state, replace(device, pending={**device.pending, event.stage: change}, since=event.at))


def _device_changed(state: SiteState, event: Event) -> SiteState:
    if event.body.get("after_takeover"):
        return state  # by a server that acts no longer: whoever took over has read the device back since
    device, step = state.device(str(event.device)), event.body["step"]
    answered = {event.stage} if event.body.get("action") in _OPENS and step != "unknown" else set()
    return _with_device(state, replace(device, step=_stepped(device, _ANSWERS[step]), hanging=device.hanging - answered, since=event.at))


def _device_read_back(state: SiteState, event: Event) -> SiteState:
    """A read-back that equals what was expected settles what the device holds: confirmed, or closed."""
    device = state.device(str(event.device))
    device = replace(
        device,
        step=_stepped(device, _READ_BACK[event.body["step"]]),
        fingerprint=event.body.get("fingerprint", ""),
        since=event.at,
    )
    settled = event.body.get("settles") if event.body.get("as_expected") else None
    if settled is not None and event.stage is not None:
        device = _settled(device, event.stage, settled, DeviceChange.model_validate(event.body["change"]))
        device = folding_windows.with_deadline(device, event, settled)
    return _with_device(state, device)


def _settled(device: DeviceStatus, stage: str, action: str, change: DeviceChange) -> DeviceStatus:
    openings, releases, pending = dict(device.openings), dict(device.releases), dict(device.pending)
    pending.pop(stage, None)
    openings.pop(stage, None)
    releases.pop(stage, None)
    if action == "narrow":  # `change` is the part that was closed: the rest stays
        held, kept = device.openings.get(stage, ()), set(change.elements)
        openings[stage] = tuple(element for element in held if element not in kept)
        releases[stage] = tuple(port for port in device.releases.get(stage, ()) if port not in change.releases)
        openings = {name: elements for name, elements in openings.items() if elements}
        releases = {name: ports for name, ports in releases.items() if ports}
    if action == "confirm":
        openings[stage] = ordered((*change.elements, *(opening.element for opening in change.shared)))
        releases[stage] = change.releases
    return replace(device, openings=openings, releases=releases, pending=pending)


_OF_CUTS = frozenset({E.CUTOFF_ORDERED, E.CUTOFF_APPLIED, E.CUTOFF_VERIFIED, E.CUTOFF_PARTIAL})
_RULES: Mapping[E, Callable[[SiteState, Event], SiteState]] = {
    E.POLICY_RATIFIED: _policy_ratified,
    E.CUTOFF_ORDERED: _cutoff_ordered,
    E.CUTOFF_APPLIED: _cutoff_applied,
    E.CUTOFF_VERIFIED: _cutoff_ended,
    E.CUTOFF_PARTIAL: _cutoff_ended,
    E.LAYER_LIFTED: _layer_lifted,
    E.STAGE_PLANNED: _stage_planned,
    E.VOTE_CAST: _vote_cast,
    E.VOTES_VOIDED: _votes_voided,
    E.DELEGATION_GRANTED: folding_delegations.delegation_granted,
    E.DELEGATION_REVOKED: folding_delegations.delegation_revoked,
    E.STAGE_APPLYING: _stage_applying,
    E.STAGE_OPENED: _stage_opened,
    E.STAGE_PARTIALLY_OPENED: _stage_opened,
    E.STAGE_RESUMED: _stage_applying,
    E.DEVICE_CHANGE_INTENDED: _change_intended,
    E.DEVICE_CHANGED: _device_changed,
    E.DEVICE_READ_BACK: _device_read_back,
    E.SURVEILLANCE_ENDED: lambda state, event: _with_posture(state, event),
    **folding_records.RULES,
    **folding_drift.RULES,
    **folding_incidents.RULES,
    **folding_reisolation.RULES,
    **folding_blocklist.RULES,
    **folding_resume.RULES,
    **folding_windows.RULES,
    **folding_people.RULES,
}


def _stepped(device: DeviceStatus, move: DeviceMove) -> DeviceStepState:
    return device_step_states.after(device.step, move, device.name)


_OPENS = ("open", "confirm", "loosen", "lift")
_ANSWERS = {"applied": DeviceMove.ANSWERED_YES, "refused": DeviceMove.ANSWERED_NO, "unknown": DeviceMove.NO_ANSWER}
_READ_BACK = {"applied": DeviceMove.READ_AS_EXPECTED, "refused": DeviceMove.READ_OTHERWISE, "unknown": DeviceMove.NOT_READ}


def _planned_conversations(state: SiteState, stage: str, plan: Plan) -> dict[tuple[str, str], ConversationState]:
    """What the plan opens is planned, what else the stage declares is deferred."""
    before = state.stage(stage).conversations
    if state.ratified is None or plan.resumes or plan.lifts:
        return {}
    return {
        pair: conversation_states.after(
            before.get(pair, conversation_states.INITIAL),
            Move.INCLUDED if pair[0] in plan.flows and pair[1] in plan.partners else Move.LEFT_OUT,
            f"{pair[0]} with {pair[1]}",
        )
        for pair in conversations_of(state.ratified.policy, stage)
    }


def _conversations(
    status: StageStatus, move: Move, named: Collection[tuple[str, str]] | None = None
) -> dict[tuple[str, str], ConversationState]:
    """All of them, or those named, moved."""
    return {
        pair: conversation_states.after(held, move, f"{pair[0]} with {pair[1]}") if named is None or pair in named else held
        for pair, held in status.conversations.items()
    }


def _named(event: Event) -> set[tuple[str, str]] | None:
    """The conversations that an event is about; None: all of its stage's."""
    listed = event.body.get("conversations")
    return None if listed is None else {(str(flow), str(partner)) for flow, partner in listed}


def _moved(status: StageStatus, event: Event) -> StageStatus:
    state = stages.after(status.state, event.type, status.name)
    since = event.at if state is not status.state else status.since
    if event.type in conversation_states.MOVED_BY:
        status = replace(status, conversations=_conversations(status, conversation_states.MOVED_BY[event.type], _named(event)))
    return replace(status, state=state, since=since or event.at, detail=_reason(event) if state is not status.state else status.detail)


def _reason(event: Event) -> str:
    reason: Any = event.body.get("reason", "")
    return str(reason)


def _with_posture(state: SiteState, event: Event, as_: E | None = None) -> SiteState:
    posture = postures.after(state.posture, as_ or event.type)
    return replace(state, posture=posture, posture_since=event.at if posture is not state.posture else state.posture_since)


def _with_stage(state: SiteState, status: StageStatus) -> SiteState:
    return replace(state, stages={**state.stages, status.name: status})


def _with_device(state: SiteState, device: DeviceStatus) -> SiteState:
    return replace(state, devices={**state.devices, device.name: device})
