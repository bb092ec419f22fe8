"""What is answered about stages, plans, votes and what goes with them."""

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
    more,
    said,
    thing,
)
from orchestrator.domain.extensions import Extension
from orchestrator.domain.false_alarms import FalseAlarm
from orchestrator.domain.plan import Lift, Reachability
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import Counted
from orchestrator.domain.waivers import Waiver

TITLE = thing("Title", "What people read, in both languages.", en=TEXT, fr=TEXT)
STATE: Schema = among(*StageState)
SIGN_THIS = thing("StatementText", "A text to be signed exactly as it is.", statement=TEXT)
WAIVER = like("Waiver", Waiver, "A waiver; `in_force` says whether it stands for its gate now.", in_force=FLAG)
UNMET = thing(
    "Unmet", "What a stage still waits for; `flows` and `partners` that it holds back (none: all of the stage).",
    rule=TEXT, message=TEXT, advice=TEXT, flows=many(TEXT), partners=many(TEXT),
    takes_s=said(maybe(COUNT), "null when nobody can say"), exact=FLAG,
)  # fmt: skip
GATE = thing(
    "Gate", "A single condition of a stage, and its answer.",
    gate=TEXT, kind=TEXT, title=TITLE, answer=said(maybe(among("holds", "lacking", "inconclusive")), "null when nothing asks for it"),
    lacks=many(TEXT), waivers=many(TEXT), may_be_waived=FLAG,
)  # fmt: skip
WINDOW = thing(
    "Window", "From when to when a stage is open, in UTC and as clocks on the site show it.",
    starts=TIME, ends=TIME, timezone=TEXT, starts_local=TEXT, ends_local=TEXT,
)  # fmt: skip
END = thing(
    "End", "When something that is open ends, or falls due.",
    stage=TEXT, partners=many(TEXT), kind=TEXT, at=TIME, at_local=TEXT, left_s=NUMBER, warned_h=maybe(COUNT), passed=FLAG,
    extension_requested=maybe(TEXT),
)  # fmt: skip
EXTENSION = like("Extension", Extension, "A later end that somebody asked for.", until_local=TEXT)
CAST = thing(
    "VoteInShort", "A vote on the present plan.", person=TEXT, choice=among("approve", "deny"), roles=many(TEXT), reason=TEXT, at=TIME
)
POSSIBLE = like("Reachability", Reachability, "A conversation that becomes possible.")
LIFT = like("Lift", Lift, "What a plan that lifts the layer takes away, and what that makes possible.")
PLAN = thing(
    "PlanInShort", "The plan of a stage, without its scripts.",
    digest=DIGEST, proposer=TEXT, planned_at=TIME, expires=TIME, rehearsal=FLAG, becomes_possible=many(POSSIBLE),
    devices=many(thing("PlannedDevice", "What is changed on one device.", device=TEXT, order=NUMBER, openings=COUNT, releases=many(TEXT))),
    probes=COUNT, unprobed=many(TEXT), confirm_window_s=COUNT, observation_s=COUNT,
    resumes=many(thing("ResumedStage", "A stage that a resumption brings back.", stage=TEXT, plan_digest=DIGEST)),
    left_out=many(TEXT), lift=maybe(LIFT), on_expiry=maybe(among("close", "alarm")), open_for_s=maybe(COUNT),
)  # fmt: skip
WHOLE_PLAN = more("Plan", PLAN, "The plan, whole: `plan` is what its digest is taken of (SHA-256 over RFC 8785 JSON).", plan=ANYTHING)
LINE = thing(
    "StageLine", "A stage in one line.",
    stage=TEXT, title=TITLE, state=STATE, since=maybe(TIME), detail=TEXT, votes=COUNT, votes_needed=COUNT, requires=many(TEXT),
    ends_at=maybe(TIME), end_passed=FLAG, window=maybe(WINDOW), waivers=many(WAIVER), rehearsal=FLAG,
)  # fmt: skip
UNKNOWN = thing(
    "AwayDevice", "A device that cannot be read, since when, and how often it was tried.",
    device=TEXT, since=TEXT, tries=COUNT, last=TEXT, why=TEXT,
)  # fmt: skip
HELD = thing("HeldConversation", "A flow with a partner, and what stands between them.", flow=TEXT, partner=TEXT, state=TEXT)
COUNTED = like("Counted", Counted, "What a device counted through the stage's openings while it was probed.", device=TEXT)
STAGE_MEMBERS = more(
    "StageInFull", LINE, "Everything about a stage but the scripts of its plan.",
    flows=many(TEXT), partners=many(TEXT), quorum=by_name(COUNT), still_needed=by_name(COUNT), cast=many(CAST), gates=many(GATE),
    unmet=many(UNMET), opened_at=maybe(TIME), conversations=many(HELD), counted=many(COUNTED), end=maybe(END), extensions=many(EXTENSION),
    plan=maybe(PLAN),
)  # fmt: skip
STAGE = more("Stage", STAGE_MEMBERS, "Everything about a stage but the scripts; and devices that cannot be read.", unknown=many(UNKNOWN))
PACKETS = thing("PacketDifference", "Packets that pass now and did not, and the reverse.", appears=many(TEXT), disappears=many(TEXT))
DIFFERENCE = thing(
    "Difference", "A plan against the one made now, or against what its devices hold.",
    stage=TEXT, against=among("plan-now", "devices"), same=FLAG, text_moved=FLAG, devices=by_name(PACKETS), guards=by_name(TEXT),
    unknown=by_name(TEXT),
)  # fmt: skip
WITNESS = thing(
    "Witness", "What a partner's contact signed of an open stage, and what it says of the present plan.",
    stage=TEXT, partner=TEXT, witness=TEXT, seen_at=TIME,
    seen=many(thing("Seen", "Of one flow and service.", flow=TEXT, service=TEXT, saw=TEXT, words=TEXT)),
    plan_digest=TEXT, handed_in_by=TEXT, at=TIME, check=TEXT, lacks=TEXT,
)  # fmt: skip
OUTLOOK = thing(
    "Resume", "Whether what the last cut-off closed can be resumed; `left_out`: what is not, and why.",
    stages=many(TEXT), left_out=many(TEXT), until=maybe(TIME), lacks=many(UNMET),
)  # fmt: skip
OPENING = thing(
    "NextOpening", "A conversation that can be opened now.", stage=TEXT, flow=TEXT, partner=TEXT, application=TEXT, criteria=by_name(TEXT)
)
LACK = more(
    "Lack", UNMET, "What stands in the way, and when it is lifted at the earliest.",
    lifted_at=maybe(TIME), stage=maybe(TEXT), never=FLAG,
)  # fmt: skip
STAGE_NEXT = thing(
    "StageNext", "What comes next for a stage.",
    stage=TEXT, title=TITLE, state=STATE, step=TEXT, advice=TEXT, canary=maybe(TEXT), votes=by_name(many(TEXT)), openings=many(OPENING),
    held=many(thing("Held", "A conversation that is held back.", flow=maybe(TEXT), partner=maybe(TEXT))), lacks=many(LACK),
    quickest=maybe(LACK),
    earliest=maybe(TIME), exact=FLAG, unreachable=maybe(TEXT),
)  # fmt: skip
DUE = thing(
    "Obligation", "What the law or a contract asks for, and when.",
    obligation=TEXT, title=TITLE, kind=TEXT, due=maybe(TIME), left_s=maybe(NUMBER), overdue=FLAG, fulfilled=FLAG,
    flows=many(thing("DueFlow", "A flow that it needs.", flow=TEXT, stage=maybe(TEXT), open=FLAG)), owner=TEXT, source=TEXT,
)  # fmt: skip
NEXT = thing(
    "Next", "What can be opened now and in which order, why not the rest, what falls due.",
    at=TIME, posture=TEXT, rehearsal=FLAG, ordered_by=TITLE, openings=many(OPENING), everywhere=many(LACK), stages=many(STAGE_NEXT),
    ends=many(END), resume=maybe(OUTLOOK), obligations=many(DUE),
)  # fmt: skip
ACCEPTED = thing("AcceptedDifference", "Who accepted it and why.", name=TEXT, reason=TEXT, by=TEXT)
LIFTING = thing(
    "LiftOverview", "What lifting the layer makes possible, by name.",
    stage=TEXT, state=STATE, detail=TEXT, devices=by_name(among("laid", "lifted", "under way")),
    differences=many(thing("LiftDifference", "Passes, and is in no flow.", name=TEXT, passed=maybe(TEXT), accepted=maybe(ACCEPTED))),
    accepted=many(ACCEPTED), plan=maybe(LIFT),
)  # fmt: skip
FALSE_ALARM = like("FalseAlarm", FalseAlarm, "What was said of the last cut-off.", resume=maybe(OUTLOOK))

ANSWERS: dict[str, Schema] = {
    "GET /v1/stages": many(LINE),
    "GET /v1/stages/{stage}": STAGE,
    "POST /v1/stages/{stage}/plan": STAGE,
    "GET /v1/stages/{stage}/plan": WHOLE_PLAN,
    "GET /v1/stages/{stage}/vote-statement": SIGN_THIS,
    "POST /v1/stages/{stage}/votes": STAGE,
    "POST /v1/stages/{stage}/apply": STAGE,
    "POST /v1/stages/{stage}/cancel": STAGE,
    "POST /v1/stages/{stage}/revert": STAGE,
    "POST /v1/stages/{stage}/defer": STAGE_MEMBERS,
    "GET /v1/stages/{stage}/difference": DIFFERENCE,
    "POST /v1/stages/{stage}/extensions": EXTENSION,
    "GET /v1/extensions": many(EXTENSION),
    "POST /v1/extensions/{extension_id}/grant": EXTENSION,
    "POST /v1/stages/{stage}/witness-statement": SIGN_THIS,
    "POST /v1/stages/{stage}/witnesses": WITNESS,
    "GET /v1/stages/{stage}/witnesses": many(WITNESS),
    "GET /v1/next": NEXT,
    "GET /v1/waivers": many(WAIVER),
    "POST /v1/waivers": WAIVER,
    "POST /v1/waivers/{waiver}/grant": WAIVER,
    "POST /v1/waivers/{waiver}/end": WAIVER,
    "POST /v1/false-alarm": FALSE_ALARM,
    "GET /v1/lift": LIFTING,
    "POST /v1/lift/accept": LIFTING,
    "POST /v1/lift/withdraw": LIFTING,
}
