"""Who stands in for whom: delegations lend what their giver holds, turns of duty give roles that decide, and somebody
fulfils each obligation. (That the people exist is asked in `words`.)"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.checks.problem import Problem, in_policy, one_of
from orchestrator.domain.network import Site
from orchestrator.domain.people import Delegation
from orchestrator.domain.policy import Policy
from orchestrator.domain.policy_words import Role
from orchestrator.domain.standing import GRANTED, owned

NO_STAND_IN = (Role.AUDITOR, Role.PARTNER_CONTACT)


def delegations(site: Site, policy: Policy) -> Iterator[Problem]:
    """The giver holds what they lend, themselves: a chain of delegations is no authority."""
    del site
    for item in policy.delegations:
        where = ("delegations", item.name)
        giver, taker = policy.person(item.giver), policy.person(item.taker)
        if item.name.startswith(GRANTED):
            message = f"{item.name}: names that begin with {GRANTED} are those of delegations granted in the crisis"
            yield in_policy(*where, message=message, advice="call it otherwise")
        if giver.name == taker.name:
            yield in_policy(*where, "taker", message=f"{giver.name} delegates to themselves", advice="name another person")
        if Role.AUDITOR in (*giver.roles, *taker.roles):
            message = f"{item.name}: an auditor takes no part in what they review, by delegation neither"
            yield in_policy(*where, message=message, advice="name another person")
        for index, role in enumerate(item.roles):
            if role in NO_STAND_IN:
                message = f"{item.name}: the role {role.value} is not delegated"
                yield in_policy(*where, "roles", index, message=message, advice="remove it")
            elif role not in giver.roles:
                yield in_policy(
                    *where, "roles", index, message=_not_theirs(policy, item, role), advice="name the person whose own role it is"
                )
        if item.applications and Role.APPLICATION_OWNER not in item.roles:
            message = f"{item.name} names applications without lending the role application-owner"
            yield in_policy(*where, "applications", message=message, advice="add the role, or remove `applications`")
        for index, name in enumerate(item.applications):
            if name not in owned(policy, giver):
                message = f"{giver.name} is not the owner of {name}"
                yield in_policy(*where, "applications", index, message=message, advice=one_of(name, owned(policy, giver)))


def _not_theirs(policy: Policy, item: Delegation, role: Role) -> str:
    lender = next((other for other in policy.delegations if other.taker == item.giver and role in other.roles), None)
    if lender is not None:
        return f"{item.giver} was lent {role.value} by {lender.giver}, and cannot lend it on"
    return f"{item.giver} does not hold {role.value}, and cannot lend it"


def duties(site: Site, policy: Policy) -> Iterator[Problem]:
    """A duty gives a role that decides, and never to an auditor."""
    del site
    for duty in policy.duties:
        if duty.role in NO_STAND_IN:
            message = f"{duty.name}: {duty.role.value} is no role for a turn of duty"
            yield in_policy("duties", duty.name, "role", message=message, advice="name a role that decides")
        for index, turn in enumerate(duty.turns):
            if Role.AUDITOR in policy.person(turn.person).roles:
                message = f"{turn.person} is auditor, and has turns of duty as {duty.role.value}"
                yield in_policy("duties", duty.name, "turns", index, message=message, advice="name another person")


def without_any_role(site: Site, policy: Policy) -> Iterator[Problem]:
    """A person without a role of their own acts by delegation or in turns of duty, or is not needed here."""
    del site
    stand_in = {item.taker for item in policy.delegations} | {turn.person for duty in policy.duties for turn in duty.turns}
    for person in policy.people:
        if not person.roles and person.name not in stand_in:
            message = f"{person.name} has no role, no delegation and no turn of duty"
            yield in_policy("people", person.name, message=message, advice="give one of the three, or remove the person")


def obligations(site: Site, policy: Policy) -> Iterator[Problem]:
    """Something fulfils each obligation: flows that open again, or a person."""
    del site
    for item in policy.obligations:
        if not item.flows and item.owner is None:
            message = f"nobody fulfils {item.name}: it names neither flows nor an owner"
            yield in_policy("obligations", item.name, message=message, advice="name the `flows` whose reopening does, or an `owner`")
