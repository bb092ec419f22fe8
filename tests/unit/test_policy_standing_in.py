"""Delegations, turns of duty, obligations: what `policy check` refuses, where and why; who ratifies by delegation."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.domain.ratification import InForce, require_votes
from orchestrator.domain.votes import Seat
from orchestrator.errors import NotAllowed
from tests.unit.broken_files import POLICY, assert_found
from tests.unit.broken_files import Broken as B

JUNE, NEXT_YEAR = datetime(2026, 6, 24, tzinfo=UTC), datetime(2027, 6, 24, tzinfo=UTC)
FILE = "delegations.yaml"

CASES = (
    B("unknown giver", FILE, "giver: rssi\n", "giver: rsi\n", "giver: rsi", "unknown person 'rsi'", "did you mean"),
    B("unknown taker", FILE, "taker: rssi-deputy", "taker: deputy", "taker: deputy", "unknown person 'deputy'", "rssi-deputy"),
    B("to oneself", FILE, "taker: rssi-deputy", "taker: rssi", "taker: rssi", "rssi delegates to themselves", "another person"),
    B("not theirs", FILE, "giver: rssi\n", "giver: eng-1\n", "roles:", "eng-1 does not hold security-officer", "whose own role"),
    B(
        "lent on",
        FILE,
        "delegations:\n",
        "delegations:\n  chain:\n    {giver: rssi-deputy, taker: eng-4, roles: [security-officer], starts: 2026-01-01T00:00:00Z,\n"
        "     ends: 2026-02-01T00:00:00Z, reason: r}\n",
        "roles: [security-officer]",
        "rssi-deputy was lent security-officer by rssi, and cannot lend it on",
        "whose own role",
    ),
    B("auditor", FILE, "taker: rssi-deputy", "taker: auditor", "rssi-2026:", "an auditor takes no part", "another person"),
    B("no time zone", FILE, "starts: 2026-01-01T00:00:00+01:00", "starts: 2026-01-01T00:00:00", "starts:", "timezone", ""),
    B("ends before", FILE, "ends: 2027-01-01T00:00:00+01:00", "ends: 2025-01-01T00:00:00+01:00", "rssi-2026:", "ends after it starts", ""),
    B("somebody else's", FILE, "[imaging-portal]", "[mail]", "[mail]", "owner-imaging-portal is not the owner of mail", "imaging-portal"),
    B(
        "without the role",
        FILE,
        "roles: [security-officer]",
        "roles: [security-officer]\n    applications: [mail]",
        "applications: [mail]",
        "without lending the role application-owner",
        "add the role",
    ),
    B("a name of ours", FILE, "rssi-2026:", "grant-2026:", "grant-2026:", "those of delegations granted in the crisis", "otherwise"),
    B("turn of nobody", FILE, "{person: manager-duty", "{person: manager", "{person: manager,", "unknown person 'manager'", "manager-duty"),
    B("duty of auditor", FILE, "role: director", "role: auditor", "role: auditor", "auditor is no role for a turn", "decides"),
    B("auditor on duty", FILE, "{person: manager-duty", "{person: auditor", "{person: auditor", "has turns of duty as director", "another"),
    B(
        "nothing to do",
        "people.yaml",
        "  auditor: {",
        "  spare: {title: Spare}\n  auditor: {",
        "spare:",
        "spare has no role, no delegation and no turn of duty",
        "give one of the three",
    ),
    B("unknown flow", "obligations.yaml", "[mail-in]", "[mail-inn]", "[mail-inn]", "unknown flow 'mail-inn'", "mail-in"),
    B("unknown owner", "obligations.yaml", "owner: rssi\n", "owner: rsi\n", "owner: rsi", "unknown person 'rsi'", "rssi"),
    B(
        "nobody fulfils it",
        "obligations.yaml",
        "    owner: rssi\n",
        "",
        "cert-sante-report:",
        "nobody fulfils cert-sante-report",
        "name the `flows`",
    ),
    B("no date", "obligations.yaml", "    after_cut: 24h\n", "", "nis2-early-warning:", "either `due`", ""),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_is_located_and_explained(case: B, tmp_path: Path) -> None:
    assert_found(case, tmp_path)


def test_a_delegation_of_the_policy_in_force_ratifies_until_it_ends_or_is_taken_back() -> None:
    policy = read_policy(POLICY).policy
    before = InForce(policy, "", "", "", 0)
    signers = ("rssi-deputy", "eng-1", "commander")
    assert require_votes(policy, before, signers, JUNE)["rssi-deputy"] == Seat(policy.person("rssi").roles[0], "rssi")
    with pytest.raises(NotAllowed, match="security-officer"):
        require_votes(policy, before, signers, NEXT_YEAR)
    with pytest.raises(NotAllowed, match="security-officer"):
        require_votes(policy, InForce(policy, "", "", "", 0, frozenset({"rssi-2026"})), signers, JUNE)
    with pytest.raises(NotAllowed):  # the first policy is ratified by own roles of the genesis set
        require_votes(policy, None, signers, JUNE)
    assert "rssi-deputy" not in require_votes(policy, before, ("rssi", *signers), JUNE)  # beside the giver: no second place
