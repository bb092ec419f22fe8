"""`resume` in the policy: votes that somebody can give, and hours."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.domain.check import check
from orchestrator.domain.policy import Resumption
from orchestrator.domain.policy_words import Role

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("votes", "within", "where", "said"),
    [
        ({Role.INCIDENT_COMMANDER: 3}, 12, ("resume", "votes"), "the resumption has no possible quorum"),
        ({Role.AUDITOR: 1}, 12, ("resume", "votes", "auditor"), "asks for a vote of auditor"),
        ({Role.APPLICATION_OWNER: 1}, 12, ("resume", "votes", "application-owner"), "opens no application of its own"),
        ({Role.NETWORK_ENGINEER: 1}, 73, ("resume", "within"), "limited in hours"),
        ({Role.NETWORK_ENGINEER: 1}, 0, ("resume", "within"), "limited in hours"),
        ({Role.NETWORK_ENGINEER: 3, Role.SECURITY_OFFICER: 1}, 72, None, ""),
    ],
)
def test_a_resumption_can_be_voted_on_and_in_time(votes: dict[Role, int], within: int, where: tuple[str, ...] | None, said: str) -> None:
    site = read_inventory(ROOT / "inventory/valmont.yml").site
    policy = read_policy(ROOT / "policies/valmont").policy
    assert policy.resume is not None
    changed = policy.model_copy(update={"resume": Resumption(votes=votes, within=timedelta(hours=within))})
    found = [(problem.path, problem.message) for problem in check(site, changed)]
    if where is None:
        assert found == []
    else:
        assert [path for path, _ in found] == [where]
        assert said in found[0][1]
