"""People: every stage, and the policy itself, can find its votes among distinct persons, the proposer left out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from orchestrator.domain.checks.problem import Problem, in_policy, listed
from orchestrator.domain.network import Site
from orchestrator.domain.people import Person
from orchestrator.domain.policy import Policy, Stage
from orchestrator.domain.policy_words import Role
from orchestrator.domain.votes import assignment, missing

NO_VOTE = (Role.AUDITOR, Role.PARTNER_CONTACT)


def owners(site: Site, policy: Policy) -> Iterator[Problem]:
    """An application's owner is one, and both sides say so; an auditor is nothing else."""
    del site
    applications = {item.name: item for item in policy.applications}
    for application in policy.applications:
        person = policy.person(application.owner)
        where = ("applications", application.name, "owner")
        if Role.APPLICATION_OWNER not in person.roles:
            message = f"{person.name} owns {application.name} without the role application-owner"
            yield in_policy(*where, message=message, advice=f"give {person.name} the role, or name another owner")
        elif application.name not in person.owns:
            message = f"{person.name} is the owner of {application.name}, but does not list it under `owns`"
            yield in_policy(*where, message=message, advice=f"add {application.name} to `owns` of {person.name}")
    for person in policy.people:
        for index, name in enumerate(person.owns):
            if applications[name].owner != person.name and Role.APPLICATION_OWNER not in person.roles:
                message = f"{person.name} lists {name} under `owns` without the role application-owner"
                yield in_policy("people", person.name, "owns", index, message=message, advice="give the role, or remove it from `owns`")
        if Role.AUDITOR in person.roles and len(set(person.roles)) > 1:
            message = f"{person.name} is auditor and something else: who reviews a decision takes no part in it"
            yield in_policy("people", person.name, "roles", message=message, advice="give the other roles to another person")


def quorums(site: Site, policy: Policy) -> Iterator[Problem]:
    """A stage without a possible quorum can never open."""
    del site
    for stage in policy.stages:
        where = ("stages", stage.name, "votes")
        if not stage.flows and Role.APPLICATION_OWNER in stage.votes:
            message = f"{stage.name} asks for an application owner, but opens no application"
            yield in_policy(*where, Role.APPLICATION_OWNER.value, message=message, advice="ask for another role")
            continue
        yield from _quorum(where, stage.name, stage.votes, eligible(policy, stage))
    genesis = {person.name: person.roles for person in policy.people if person.genesis}
    yield from _quorum(("ratification",), "the first ratification", policy.ratification, genesis, among=" among the genesis set")


def eligible(policy: Policy, stage: Stage) -> Mapping[str, Collection[Role]]:
    """Who can vote on the stage, and as what: an application owner only for an application that it opens."""
    opens = set(stage.flows)
    applications = {flow.application for flow in policy.flows if flow.name in opens}
    return {person.name: _roles(person, applications) for person in policy.people}


def _roles(person: Person, applications: Collection[str]) -> tuple[Role, ...]:
    owns = bool(set(person.owns) & set(applications))
    return tuple(role for role in person.roles if role not in NO_VOTE and (role is not Role.APPLICATION_OWNER or owns))


def _quorum(
    where: tuple[str, ...], what: str, votes: Mapping[Role, int], people: Mapping[str, Collection[Role]], among: str = ""
) -> Iterator[Problem]:
    for role in votes:
        if role in NO_VOTE:
            yield in_policy(
                *where, role.value, message=f"{what} asks for a vote of {role.value}, who has none", advice="ask for another role"
            )
            return
    proposers = [name for name, roles in people.items() if Role.NETWORK_ENGINEER in roles]
    for proposer in proposers:
        if assignment(votes, {name: roles for name, roles in people.items() if name != proposer}) is not None:
            return
    left = dict(people)
    if proposers:
        left.pop(proposers[0])
    lacking = missing(votes, left)
    short = listed([f"{count} × {role.value}" for role, count in lacking.items()]) or "a network engineer who proposes it"
    message = f"{what} has no possible quorum{among}: beside the proposer, {short} is missing"
    yield in_policy(*where, message=message, advice="name more persons with these roles, or ask for fewer votes")
