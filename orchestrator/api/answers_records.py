"""What is answered about records, delegations, the block list, re-isolations and drift."""

from __future__ import annotations

from orchestrator.api.answer_words import (
    COUNT,
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
from orchestrator.api.answers_stages import SIGN_THIS, STATE
from orchestrator.domain.drift_status import Kind
from orchestrator.domain.policy_words import Role
from orchestrator.domain.state import Attestation, CareResult, Evidence, MonitorReport, PartnerReadiness

EVIDENCE = like("Evidence", Evidence, "What was attached; the document itself stays where it is.")
ATTESTATION = like("Attestation", Attestation, "Of remediation, as last recorded; `expired` when its time is over.")
READINESS = like("PartnerReadiness", PartnerReadiness, "Whether a partner has opened their side, as they last said.")
REPORT = like("MonitorReport", MonitorReport, "What a monitor says of a time that has passed.")
CARE = like("CareResult", CareResult, "The worst answer of a care assertion's probes when they were last asked.")
MADE_ENTRY = thing(
    "MadeLogbookEntry", "What was entered; it is the last event of a log of this size.",
    kind=TEXT, text=TEXT, stage=maybe(TEXT), by=TEXT, log_size=COUNT,
)  # fmt: skip
ENTRY = thing(
    "LogbookEntry", "A free entry in the logbook (main courante).",
    seq=COUNT, at=TIME, by=TEXT, stage=maybe(TEXT), kind=TEXT, text=TEXT,
)  # fmt: skip
DELEGATION = thing(
    "Delegation", "Who stands in for whom; `by` says whether the policy or a signed statement lends it.",
    delegation=TEXT, giver=TEXT, taker=TEXT, roles=many(among(*Role)), applications=many(TEXT), starts=TIME, ends=TIME, reason=TEXT,
    by=among("statement", "policy"), revoked_at=maybe(TIME), runs=said(FLAG, "whether it counts now"),
)  # fmt: skip
TAKEN = thing("Taken", "What a block takes although it was approved.", stage=TEXT, flow=TEXT, partner=TEXT)
BLOCK = thing(
    "Block", "Networks that nothing is let through for; `left` of them are still on the list.",
    id=TEXT, networks=many(TEXT), left=many(TEXT), reason=TEXT, by=TEXT, at=TIME, until=maybe(TIME), takes=many(TAKEN), rehearsal=FLAG,
)  # fmt: skip
BLOCKED_DEVICE: Schema = {
    "title": "BlockedDevice", "description": "Whether a device has the list; `behind`: which devices stand behind one that cannot.",
    "type": "object",
    "properties": {
        "device": TEXT, "blocked": many(TEXT), "state": among("as listed", "owed", "cannot"), "detail": TEXT, "behind": many(TEXT),
    },
    "required": ["device", "blocked", "state", "detail"],
    "additionalProperties": False,
}  # fmt: skip
BLOCKS = thing(
    "BlockList", "The list, what made it, and every device that holds a layer.",
    networks=many(TEXT), blocks=many(BLOCK), devices=many(BLOCKED_DEVICE),
)  # fmt: skip
MADE_BLOCK = more("MadeBlock", BLOCKS, "The list after it, and what was made.", made=BLOCK)
REMOVAL = thing(
    "Removal", "Asked to be taken off the block list; null until another person has granted it.",
    id=TEXT, networks=many(TEXT), reason=TEXT, requested_by=TEXT, requested_at=TIME, granted_by=maybe(TEXT), granted_at=maybe(TIME),
)  # fmt: skip
REISOLATION = thing(
    "Reisolation", "What was closed again; `owed`: devices that are not read back as they should be, and what the last try said.",
    id=TEXT, what=TEXT, name=TEXT, reason=TEXT, by=TEXT, at=TIME, epoch=NUMBER, rehearsal=FLAG,
    stages=by_name(thing("ClosedStage", "What of a stage closes: flow and partner.", state=STATE, conversations=many(many(TEXT)))),
    takes=many(thing("TakenToo", "What it takes from others.", stage=TEXT, flow=TEXT, partner=TEXT, where=TEXT)),
    notes=many(TEXT), block=maybe(BLOCK), owed=by_name(TEXT), done=FLAG, checked=maybe(TEXT), leaks=many(TEXT),
)  # fmt: skip
DEVIATION = thing(
    "Deviation", "One thing that is not as the log says; `more`: more may pass than was approved.",
    kind=among(*Kind), more=FLAG, text=TEXT, appears=many(TEXT), disappears=many(TEXT), section=TEXT, sha256=TEXT, diff=many(TEXT),
    since=TEXT,
)  # fmt: skip
DRIFTED = thing(
    "DriftedDevice", "`looked` is false for what was found earlier.", device=TEXT, looked=FLAG, since=maybe(TIME), found=many(DEVIATION)
)
DRIFT = thing("Drift", "What is on the devices that the log does not say.", drift=FLAG, devices=many(DRIFTED))
REPAIRED = thing(
    "DriftRepair", "`done` is false when it still waits for what runs now; it goes on.",
    done=FLAG, devices=many(thing("RepairedDevice", "What was done, and what is left.", device=TEXT, did=many(TEXT), left=many(DEVIATION))),
)  # fmt: skip

ANSWERS: dict[str, Schema] = {
    "GET /v1/evidence": many(EVIDENCE),
    "POST /v1/evidence": EVIDENCE,
    "GET /v1/attestations": many(ATTESTATION),
    "POST /v1/attestations": ATTESTATION,
    "GET /v1/partners/ready": many(READINESS),
    "POST /v1/partners/ready": READINESS,
    "GET /v1/monitor-reports": many(REPORT),
    "POST /v1/monitor-reports": REPORT,
    "GET /v1/care": many(CARE),
    "POST /v1/care/probe": many(CARE),
    "GET /v1/logbook": many(ENTRY),
    "POST /v1/logbook": MADE_ENTRY,
    "GET /v1/delegations": many(DELEGATION),
    "POST /v1/delegations": DELEGATION,
    "GET /v1/delegations/statement": SIGN_THIS,
    "POST /v1/delegations/{delegation}/revoke": DELEGATION,
    "GET /v1/blocks": BLOCKS,
    "POST /v1/blocks": MADE_BLOCK,
    "GET /v1/blocks/removals": many(REMOVAL),
    "POST /v1/blocks/removals": REMOVAL,
    "POST /v1/blocks/removals/{id}/grant": REMOVAL,
    "GET /v1/reisolations": many(REISOLATION),
    "POST /v1/reisolations": REISOLATION,
    "GET /v1/reisolations/{id}": REISOLATION,
    "GET /v1/drift": DRIFT,
    "POST /v1/drift/repair": REPAIRED,
    "POST /v1/drift/accept": DRIFTED,
}
