"""Which roles give which verb: one table. No role gives everything, and the auditor's gives reading only.

A vote needs more than its line here: the roles that the stage asks for (`decide`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

from orchestrator.domain.policy_words import Role
from orchestrator.errors import NotAllowed


class Verb(StrEnum):
    READ = "read"
    PLAN = "plan"
    VOTE = "vote"
    APPLY = "apply"
    CANCEL = "cancel"
    REVERT = "revert"
    EVIDENCE = "evidence"
    ATTESTATION = "attestation"
    PARTNER_READY = "partner-ready"
    WITNESS = "witness"
    MONITOR_REPORT = "monitor-report"
    CARE = "care"
    WAIVER = "waiver"
    WAIVER_END = "waiver-end"
    EXTENSION = "extension"
    RECUT = "recut"
    LOGBOOK = "logbook"
    INCIDENT = "incident"
    CUTOFF_ORDER = "cutoff-order"
    CUTOFF_JUDGE = "cutoff-judge"
    DISTRUST = "distrust"
    TRUST = "trust"
    MANUAL_ACT = "manual-act"
    EXPORT = "export"
    DRIFT_REPAIR = "drift-repair"
    DRIFT_ACCEPT = "drift-accept"
    FALSE_ALARM = "false-alarm"
    DEFER = "defer"
    LIFT_ACCEPT = "lift-accept"
    REISOLATE = "reisolate"
    BLOCK = "block"
    UNBLOCK = "unblock"
    PEOPLE_CHANGE = "people-change"
    PEOPLE_STOP = "people-stop"
    KEY_REVOKE = "key-revoke"
    SESSIONS_END = "sessions-end"


_COMMANDER, _ENGINEER, _OFFICER = Role.INCIDENT_COMMANDER, Role.NETWORK_ENGINEER, Role.SECURITY_OFFICER
_DECIDING = frozenset({_COMMANDER, _ENGINEER, _OFFICER, Role.APPLICATION_OWNER, Role.DIRECTOR})

ROLES_OF: Mapping[Verb, frozenset[Role]] = {
    Verb.READ: _DECIDING | {Role.AUDITOR},
    Verb.PLAN: frozenset({_COMMANDER, _ENGINEER, _OFFICER}),
    Verb.VOTE: _DECIDING,
    Verb.APPLY: frozenset({_COMMANDER, _ENGINEER}),
    Verb.CANCEL: _DECIDING,
    Verb.REVERT: _DECIDING,  # it only subtracts
    Verb.EVIDENCE: _DECIDING,
    Verb.ATTESTATION: frozenset({_COMMANDER, _OFFICER}),
    Verb.PARTNER_READY: _DECIDING,
    Verb.WITNESS: _DECIDING,  # handing in what a partner's contact has signed
    Verb.MONITOR_REPORT: frozenset({_COMMANDER, _ENGINEER, _OFFICER}),
    Verb.CARE: _DECIDING,
    Verb.WAIVER: frozenset({_COMMANDER, _OFFICER, Role.DIRECTOR}),  # requesting and granting, by two persons
    Verb.WAIVER_END: _DECIDING,  # it only subtracts
    Verb.EXTENSION: frozenset({_COMMANDER, _OFFICER, Role.DIRECTOR}),  # requesting and granting, by two persons
    Verb.RECUT: frozenset({_COMMANDER, _OFFICER}),  # scheduling and cancelling
    Verb.LOGBOOK: _DECIDING,
    Verb.INCIDENT: frozenset({_COMMANDER, _OFFICER, Role.DIRECTOR}),
    Verb.CUTOFF_ORDER: frozenset({_COMMANDER, _ENGINEER, _OFFICER, Role.DIRECTOR}),  # it only subtracts
    Verb.CUTOFF_JUDGE: frozenset({_COMMANDER, _OFFICER, Role.DIRECTOR}),  # opens nothing
    Verb.DISTRUST: frozenset({_COMMANDER, _ENGINEER, _OFFICER}),  # it only subtracts
    Verb.TRUST: frozenset({_COMMANDER, _OFFICER}),  # by somebody else than who distrusted
    Verb.MANUAL_ACT: _DECIDING,
    Verb.EXPORT: _DECIDING,  # making one is recorded; whoever reads can fetch it
    Verb.DRIFT_REPAIR: frozenset({_COMMANDER, _ENGINEER, _OFFICER}),  # it only subtracts, and may take an open stage with it
    Verb.DRIFT_ACCEPT: frozenset({_COMMANDER, _ENGINEER, _OFFICER}),
    Verb.FALSE_ALARM: frozenset({_COMMANDER, _OFFICER}),
    Verb.DEFER: frozenset({_COMMANDER, _OFFICER}),
    Verb.LIFT_ACCEPT: frozenset({_COMMANDER, _OFFICER, Role.DIRECTOR}),
    Verb.REISOLATE: _DECIDING,  # it only subtracts
    Verb.BLOCK: _DECIDING,  # it only subtracts
    Verb.UNBLOCK: frozenset({_COMMANDER, _OFFICER, Role.DIRECTOR}),  # requesting and granting, by two persons
    Verb.PEOPLE_CHANGE: _DECIDING,  # handing in what k people have signed
    Verb.PEOPLE_STOP: frozenset({_COMMANDER, _OFFICER}),
    Verb.KEY_REVOKE: frozenset({_COMMANDER, _OFFICER}),  # it only subtracts
    Verb.SESSIONS_END: frozenset({_OFFICER}),
}
ABOUT_ONESELF = frozenset({Verb.PEOPLE_STOP, Verb.KEY_REVOKE, Verb.SESSIONS_END})  # these, the person concerned may as well
_CHANGES_NOTHING = frozenset({Role.AUDITOR, Role.PARTNER_CONTACT})


def require(verb: Verb, roles: Collection[Role], *, own: bool = False) -> None:
    """Raises NotAllowed (rule `role`) unless one of the roles gives the verb, or it is about one's `own` keys or sessions."""
    if verb is not Verb.READ:
        require_writing(roles)
    if ROLES_OF[verb].isdisjoint(roles) and not (own and verb in ABOUT_ONESELF):
        raise NotAllowed(f"none of your roles gives `{verb}`", rule="role", advice="it takes one of: " + ", ".join(sorted(ROLES_OF[verb])))


def require_writing(roles: Collection[Role]) -> None:
    """Raises NotAllowed (rule `role`) for those who change nothing, whatever else they are: auditors, and partners' contacts."""
    if not _CHANGES_NOTHING.isdisjoint(roles):
        message = "an auditor reads, and changes nothing; nor does a partner's contact"
        raise NotAllowed(message, rule="role", advice="ask somebody who decides")
