"""What is answered about the site, its people, its devices, its log and the incident."""

from __future__ import annotations

from orchestrator.api.answer_words import (
    ANYTHING,
    COUNT,
    DIGEST,
    FLAG,
    NUMBER,
    TEXT,
    TIME,
    Schema,
    among,
    by_name,
    like,
    many,
    maybe,
    said,
    thing,
)
from orchestrator.api.answers_stages import END, WAIVER
from orchestrator.domain.device_step_states import DeviceStepState
from orchestrator.domain.incidents import CutRecord, Distrust, Incident, ManualAct
from orchestrator.domain.policy import Application, Flow, Partner
from orchestrator.domain.posture import SitePosture
from orchestrator.domain.recuts import Recut

HEALTH = thing(
    "Health", "`ok` is false when a run ended in a way that no rule foresees.",
    ok=FLAG, log_size=COUNT, ratified=FLAG, failures=many(TEXT), chores=said(by_name(TEXT), "chores that fail, and why"),
    streams=COUNT, server=TEXT, acts=FLAG, acting=said(maybe(TEXT), "the server that acts on this log"),
)  # fmt: skip
CHALLENGE = thing("Challenge", "Sign exactly this text in the namespace orchestrator-login@v1.", challenge=TEXT)
TOKEN = thing("Token", "For `Authorization: Bearer`.", token=TEXT, person=TEXT, expires=TIME)
WHO = thing(
    "WhoAmI", "You, your roles now, and the session that you ask by.",
    person=TEXT, roles=many(TEXT), key=TEXT, user_verified=maybe(FLAG), until=TIME,
)  # fmt: skip
RECUT = like("Recut", Recut, "A cut-off at a date; `asks`: its date is over, and it waits for a person.", at_local=TEXT, asks=FLAG)
DRIFT_IN_SHORT = thing("DriftInShort", "What was found last on a device.", device=TEXT, since=TIME, found=COUNT, more=FLAG)
CUT = thing(
    "LastCutoff", "The last cut-off.", profile=TEXT, epoch=NUMBER, at=TIME, verdict=among("ordered", "verified", "partial")
)  # fmt: skip
POSTURE = thing(
    "Posture", "The site now.",
    site=maybe(TEXT), posture=among(*SitePosture), since=maybe(TIME), epoch=COUNT, rehearsal=FLAG, policy_digest=maybe(DIGEST),
    inventory_digest=maybe(DIGEST), ends=many(END), recuts=many(RECUT), last_cutoff=maybe(CUT), waivers=many(WAIVER),
    drift=many(DRIFT_IN_SHORT), server=maybe(TEXT), log_size=COUNT,
)  # fmt: skip
DEVICE = thing(
    "Device", "What the log says of a device.",
    device=TEXT, platform=TEXT, step=maybe(among(*DeviceStepState)), since=maybe(TIME), epoch=maybe(NUMBER), slots=by_name(TEXT),
    openings=by_name(COUNT), releases=by_name(many(TEXT)), pending=many(TEXT), fingerprint=maybe(TEXT),
)  # fmt: skip
PERSON = thing("Person", "Somebody of the ratified policy.", person=TEXT, title=TEXT, roles=many(TEXT), owns=many(TEXT))
EVENT = thing(
    "Event", "What happened, as the log keeps it.",
    seq=COUNT, previous=DIGEST, type=TEXT, at=TIME, actor=TEXT, stage=maybe(TEXT), device=maybe(TEXT), body=ANYTHING, hash=DIGEST,
)  # fmt: skip
EVENTS = thing("Events", "A page of the log.", events=many(EVENT), next=said(NUMBER, "what to give as `after` for the following page"))
INCIDENT = like("Incident", Incident, "Its name is what exports are made of.")
CUT_RECORD = like("Cutoff", CutRecord, "A cut-off, and what was said of it afterwards: the last counts.")
DISTRUST = like("Distrust", Distrust, "A device that nothing is opened on.")
ACT = like("ManualAct", ManualAct, "What somebody did by hand, as they say. It proves nothing.")
CONVERSATION = thing("Conversation", "What stands between the flow and a partner, by a stage.", partner=TEXT, stage=TEXT, state=TEXT)
FLOW_IN_SHORT = thing("FlowInShort", "A flow and its conversations.", name=TEXT, conversations=many(CONVERSATION))
FLOW = like(
    "Flow",
    Flow,
    "A line of the flow matrix, with the state of its conversations.",
    conversations=many(CONVERSATION),
    services=many(ANYTHING),
)
APPLICATION = like("Application", Application, "A service of the hospital that talks to somebody outside.", flows=many(FLOW_IN_SHORT))
PARTNER = like(
    "Partner", Partner, "Somebody outside, and what is known of them.",
    ready=said(maybe(FLAG), "whether they have opened their side; null when they have not said"), attestation_state=TEXT,
    flows=many(FLOW_IN_SHORT),
)  # fmt: skip
POLICY = thing(
    "RatifiedPolicy", "What is in force, and by which event of the log.",
    site=TEXT, policy_digest=DIGEST, inventory_digest=DIGEST, ratified_at=TIME, ratified_by_event=COUNT, rehearsal=FLAG,
    default_profile=TEXT, profiles=many(TEXT), stages=many(TEXT), ratification=by_name(COUNT),
)  # fmt: skip
VOTE = thing(
    "Vote", "A vote as it was cast, with the text that was signed.",
    stage=TEXT, plan_digest=DIGEST, person=TEXT, choice=among("approve", "deny"), roles=many(TEXT), reason=TEXT, statement=TEXT,
    signature=TEXT, at=TIME, seq=COUNT,
)  # fmt: skip
CHECK: Schema = {
    "title": "CheckRun", "description": "What probes answered when they were asked; further members as the event has them.",
    "type": "object", "properties": {"seq": COUNT, "at": TIME, "stage": maybe(TEXT)}, "required": ["seq", "at", "stage"],
}  # fmt: skip
KEY = thing(
    "PersonKey", "A key that counts.",
    person=TEXT, fingerprint=TEXT, type=TEXT, namespaces=many(TEXT), valid_after=maybe(TIME), valid_before=maybe(TIME),
)  # fmt: skip
REVOKED_KEY = thing("RevokedKey", "A key that was taken away for good.", person=TEXT, fingerprint=TEXT, at=TIME, by=TEXT, reason=TEXT)
KEYS = thing("PeopleKeys", "Whose keys count, and which were taken away.", keys=many(KEY), revoked=many(REVOKED_KEY), allowed_signers=TEXT)
CHANGE = thing(
    "PeopleChange", "Of somebody's keys, signed by others.",
    change=TEXT, action=TEXT, person=TEXT, adds=many(TEXT), removes=many(TEXT), reason=TEXT, signed_by=many(TEXT), handed_in_by=TEXT,
    at=TIME, in_force_at=TIME, state=TEXT, ended_by=maybe(TEXT), ended_at=maybe(TIME), ended_because=maybe(TEXT),
)  # fmt: skip
TO_BE_SIGNED = thing("PeopleStatement", "What others sign; so many of `signers`.", statement=TEXT, needed=COUNT, signers=many(TEXT))
REVOCATION = thing(
    "KeysLeft", "What is left to the person, and who may enrol them again.",
    person=TEXT, revoked=TEXT, keys_left=many(TEXT), needed=COUNT, signers=many(TEXT),
)  # fmt: skip
LOGGED_OUT = thing("LoggedOut", "Your session is over.", person=TEXT, logged_out=FLAG)
ENDED = thing("EndedSessions", "How many there were.", person=TEXT, sessions=COUNT)
RULE = thing("Rule", "A rule that refuses.", rule=TEXT, title=TEXT, meaning=TEXT)
ORDERED = thing("OrderedCutoff", "What the emergency command was started with.", profile=TEXT, reason=TEXT, by=TEXT)
TRUSTED = thing("TrustedDevice", "Plans may open something on it again.", device=TEXT, trusted=FLAG, by=TEXT)

ANSWERS: dict[str, Schema] = {
    "GET /v1/health": HEALTH,
    "GET /v1/rules": said(by_name(TEXT), "what each rule means, by its name"),
    "GET /v1/rules/{rule}": RULE,
    "POST /v1/login/challenge": CHALLENGE,
    "POST /v1/login": TOKEN,
    "GET /v1/whoami": WHO,
    "POST /v1/logout": LOGGED_OUT,
    "GET /v1/people/keys": KEYS,
    "GET /v1/people/changes": many(CHANGE),
    "POST /v1/people/changes": CHANGE,
    "POST /v1/people/changes/{change}/stop": CHANGE,
    "GET /v1/people/statement": TO_BE_SIGNED,
    "POST /v1/people/{concerned}/keys/revoke": REVOCATION,
    "POST /v1/people/{concerned}/sessions/revoke": ENDED,
    "GET /v1/posture": POSTURE,
    "GET /v1/devices": many(DEVICE),
    "GET /v1/people": many(PERSON),
    "GET /v1/events": EVENTS,
    "GET /v1/incidents": many(INCIDENT),
    "POST /v1/incidents": INCIDENT,
    "GET /v1/incidents/{name}": INCIDENT,
    "GET /v1/cutoffs": many(CUT_RECORD),
    "POST /v1/cutoffs": ORDERED,
    "POST /v1/cutoffs/{epoch}/ratify": CUT_RECORD,
    "POST /v1/cutoffs/{epoch}/contest": CUT_RECORD,
    "GET /v1/devices/distrusted": many(DISTRUST),
    "POST /v1/devices/{device}/distrust": DISTRUST,
    "POST /v1/devices/{device}/trust": TRUSTED,
    "GET /v1/manual-acts": many(ACT),
    "POST /v1/manual-acts": ACT,
    "GET /v1/policy": POLICY,
    "GET /v1/applications": many(APPLICATION),
    "GET /v1/partners": many(PARTNER),
    "GET /v1/flows": many(FLOW),
    "GET /v1/votes": many(VOTE),
    "GET /v1/checks": many(CHECK),
    "GET /v1/recuts": many(RECUT),
    "POST /v1/recuts": RECUT,
    "POST /v1/recuts/{recut_id}/cancel": RECUT,
}
