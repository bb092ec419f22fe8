"""Every rule that refuses, by the name that refusals carry, the log keeps and problem+json points to.

A name with a `:` is followed by what it is about (`gate-missing:portal-scanned`).
"""

from __future__ import annotations

from collections.abc import Mapping

RULES: Mapping[str, str] = {
    # who
    "token": "The request carries no valid token: log in.",
    "challenge": "A login challenge is used once, in time, by the person it was made for.",
    "signature": "The signature is not by a valid key of the person it is said to be by, over exactly this text.",
    "unknown-person": "The person is not in the ratified policy.",
    "role": "None of the person's roles gives this verb.",
    "user-verification": "A vote to open is signed with the kind of key that the policy asks for.",
    "too-many-requests": "Too many requests, or refused log-ins, from one place or by one person: wait, then try again.",
    "people-signers": "A change of somebody's keys is signed by as many others as the policy asks for, each with a role that it names.",
    "people-change-known": "A change of people is handed in once, and ends once.",
    "people-change-pending": "One change of a person's keys at a time.",
    "key-known": "A key belongs to one person for good: never to two, and never again after it was taken away.",
    "too-few-left": "Nobody but its holder revokes a key when too few people would be left to enrol anybody again.",
    "keys-behind": "The `allowed_signers` to be ratified would undo a change of people that is in force.",
    # the policy
    "not-ratified": "No policy is ratified: nothing can be planned, voted on or opened.",
    "policy-findings": "`policy check` refuses the policy, so nobody can ratify it.",
    "device-holds-a-layer": "A device where a layer or an opening of ours lies stays in the inventory, under its name.",
    "not-genesis": "The first policy is ratified by people of its own genesis set only.",
    "signed-twice": "One person signs once, whatever keys they have.",
    "ratification-votes": "The signatures do not fill every place that ratification asks for.",
    "ratified-since": "Another policy was ratified after this statement was written.",
    "delegation-authority": "A delegation lends what its giver holds by the ratified policy, and nothing that was lent to them.",
    "delegation-taker": "Nobody delegates to themselves, and an auditor neither lends nor is lent anything.",
    "delegation-time": "A delegation granted in the crisis ends within 7 days of being handed in.",
    "delegation-known": "A delegation is recorded once, and taken back once.",
    "delegation-not-yours": "A delegation is taken back by its giver or by a security officer.",
    # planning
    "nothing-is-cut": "No device holds a layer of ours: there is nothing to reopen.",
    "no-path": "The routes of the inventory lead this flow through no exit.",
    "unknown-slot": "A device holds a layer that no profile of the ratified policy defines.",
    "untrusted-device": "Nothing is opened on a device that is not trusted.",
    "coarse-behind-flow": "A coarse device is released only where flow devices behind it enforce everything that it lets in.",
    "composition": "What a device would let through must be let through by our layer and by the site's own rules.",
    "not-modelled": "A device holds something inside our own layer that cannot be reasoned about.",
    "packet-set-too-complex": "The set of packets has too many parts to be proved about.",
    "check-contradicted": "The stage would let pass what one of its own checks wants blocked.",
    "mixed-expiry": "Flows that close by themselves and flows that do not cannot share one plan.",
    "difference-not-accepted": "What a lift makes possible beyond the flow matrix is nothing, or accepted by name.",
    "layer-lifted": "The layer is lifted: there is nothing of it to close. A cut-off lays it again.",
    "ends-with-another": "Nothing may come to depend on what is open in a dated window of another stage.",
    "window-missing": "The stage opens in dated windows only, and the plan says no start and end.",
    "window-not-asked": "The stage opens in no dated window.",
    "window-times": "A window lies in the future, ends after it begins, is not longer than the policy allows, and can be voted on in time.",
    "window-one-at-a-time": "A stage with dated windows opens to one partner at a time.",
    "window-not-begun": "An approved window opens by itself at its start, and not before.",
    "window-over": "The window of the plan is over.",
    "no-end": "What is extended has an end that a policy lets people move.",
    "extension-needs-a-second-person": "Who asks for an extension does not grant it.",
    "extension-too-long": "An extension lasts at most as long again as the stage is open for.",
    "recut-time": "A re-cut is scheduled in the future.",
    "no-plan": "The stage has no plan yet.",
    # after a false alarm
    "already-declared": "The last cut-off has been declared a false alarm already.",
    "indicator-open": "A monitor has reported alerts, and has not called these zones quiet since.",
    "false-alarm-missing": "Nobody has declared the last cut-off a false alarm.",
    "resume-too-late": "The hours within which the policy lets a resumption be applied are over.",
    "resume-used": "A false alarm is resumed from once.",
    "nothing-to-resume": "Nothing that was open when the cut-off came can be resumed as it was.",
    # voting
    "proposer-cannot-vote": "Who proposes a plan does not vote on it.",
    "role-cannot-vote": "The person has no role that the stage asks for.",
    "already-voted": "One person, one vote on a plan.",
    "delegation-used": "A delegate acts instead of the giver: who proposed a plan or votes on it has lent nothing for it.",
    "digest-moved": "The plan, or what is ratified (policy, inventory, the people's keys), is not what was signed.",
    "log-head": "The statement names a log that is not a beginning of this one.",
    "expired": "The plan, or the statement on it, has run out of time.",
    "predecessor-not-open": "A stage that must be open before this one is not, or not for long enough.",
    "gate-missing": "A condition of the stage does not hold: something is missing, too old or refused.",
    "gate-inconclusive": "Nobody can say whether a condition of the stage holds; silence opens nothing.",
    "attestation-missing": "An attestation of remediation, a partner's or ours to them, is missing, refused or has expired.",
    "cannot-be-waived": "No waiver stands for a vote, a predecessor, eradication, care, or a condition that excludes it.",
    "waiver-needs-a-second-person": "Who requests a waiver does not grant it.",
    "waiver-too-long": "A waiver ends within 30 days.",
    # applying
    "votes-missing": "The votes do not fill every place that the stage asks for.",
    "posture": "Stages are applied after a verified cut-off only, and never while one is under way.",
    "another-stage-runs": "One stage is applied at a time.",
    "nothing-to-see": "A partner's contact speaks of a stage that is being verified, observed or open.",
    "witness-time": "What a partner's contact saw is dated between the opening of the stage and now, and is not 4 hours old.",
    "not-a-responder": "Only a host that declares what it answers is probed, and never a biomedical device.",
    "device-unknown": "A device could not be read back, so what it does is not known.",
    "device-moved": "A device is not as the log says.",
    "another-server-acts": "One server acts on a log; another one answers questions and sends nothing to any device.",
    "drift-moved": "What is accepted is what was reported; the device has changed again since.",
    # the block list
    "blocked": "The partner is on the block list: nothing is opened to it before it is removed.",
    "block-management": "Nobody blocks the management network: it is the way in.",
    "block-inside": "Nobody blocks the hospital's own networks, nor what its devices have and publish outside.",
    "block-care": "Nobody blocks what a care assertion, or a gateway that a profile keeps, needs.",
    "block-vital": "A partner whose flows are kept by a decision of peacetime is blocked only by somebody who names it.",
    "unblock-needs-a-second-person": "Who asks to take something off the block list does not grant it.",
    # incidents
    "incident-known": "An incident is declared once.",
    "cutoff-own": "A cut-off is ratified or contested by somebody else than who ordered it.",
    "trust-needs-a-second-person": "Who distrusts a device does not trust it again.",
    # everywhere
    "illegal-transition": "The state machine has no such edge from the present state (docs/stages.md).",
    "too-many-streams": "One person has at most 8 streams of live events open, a server 128.",
    "idempotency-key": "An idempotency key stands for one request; the same key with another one is refused.",
    "if-match": "The request is about an object as it was seen, and that has moved since.",
    "log-size": "The log has grown since it was looked at.",
    "busy": "Too many others write to the log at once: try again.",
    "not-found": "There is nothing of that name.",
    "bad-request": "The request cannot be understood.",
    "unavailable": "The log cannot be read or written: nothing can be opened, the emergency cut-off still works.",
    "internal": "Something is wrong on the server; its own log says what.",
}


def base(rule: str) -> str:
    """The rule without what it is about."""
    return rule.partition(":")[0]
