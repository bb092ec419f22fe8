"""People: every stage, and the policy itself, can find its votes among distinct persons, the proposer left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from orchestrator.domain import resumption
from orchestrator.domain.checks.problem import Problem, in_policy, listed
from orchestrator.domain.network import Site
from orchestrator.domain.policy import Policy, Stage
from orchestrator.domain.policy_words import Role
from orchestrator.domain.standing import Standing, applications_of, standing_for
from orchestrator.domain.votes import missing, seats

NO_VOTE = (Role.AUDITOR, Role.PARTNER_CONTACT)
PROPOSES = Role.NETWORK_ENGINEER
LONGEST_TO_RESUME = timedelta(hours=72)
SHORTEST_TO_SEE, LONGEST_TO_SEE = timedelta(minutes=10), timedelta(days=7)


RESERVED = {"orchestrator": "the server itself", "emergency": "the emergency command"}


def reserved(site: Site, policy: Policy) -> Iterator[Problem]:
    """Nobody is called what the log calls those who are no persons."""
    del site
    for person in policy.people:
        if person.name in RESERVED:
            message = f"{person.name} is what the log calls {RESERVED[person.name]}: a person of that name could not be told from it"
            yield in_policy("people", person.name, message=message, advice="call the person otherwise")


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
        contact = Role.PARTNER_CONTACT in person.roles
        if contact and (len(set(person.roles)) > 1 or not person.speaks_for):
            message = f"{person.name} is a partner's contact and " + ("something else" if person.speaks_for else "speaks for no partner")
            advice = "who speaks for a partner has no part in our decisions; name the partners under `speaks_for`"
            yield in_policy("people", person.name, "roles", message=message, advice=advice)
        if person.speaks_for and not contact:
            message = f"{person.name} speaks for {', '.join(person.speaks_for)} without the role partner-contact"
            yield in_policy("people", person.name, "speaks_for", message=message, advice="give the role, or remove it from `speaks_for`")
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
        yield from _quorum(where, stage.name, stage.votes, eligible(policy, stage), proposers(policy))
    yield from _resumption(policy)
    genesis = {person.name: Standing(frozenset(person.roles)) for person in policy.people if person.genesis}
    among = [name for name, item in genesis.items() if PROPOSES in item.roles]
    yield from _quorum(("ratification",), "the first ratification", policy.ratification, genesis, among, " among the genesis set")


def _resumption(policy: Policy) -> Iterator[Problem]:
    """A resumption is voted on like a stage, by whoever decides on all of them, and within hours."""
    if policy.resume is None:
        return
    where = ("resume", "votes")
    if Role.APPLICATION_OWNER in policy.resume.votes:
        message = "the resumption asks for an application owner, but opens no application of its own"
        yield in_policy(*where, Role.APPLICATION_OWNER.value, message=message, advice="ask for another role")
        return
    asked = resumption.as_stage(policy)
    yield from _quorum(where, "the resumption", asked.votes, eligible(policy, asked), proposers(policy))
    if not timedelta(0) < policy.resume.within <= LONGEST_TO_RESUME:
        message = "a resumption is limited in hours: later, what was true when the stages were opened is not known any more"
        yield in_policy("resume", "within", message=message, advice="say 1h to 72h, for example 12h")


def changes(site: Site, policy: Policy) -> Iterator[Problem]:
    """A change of anybody's keys finds its signers, and can be seen before it counts."""
    del site
    rules, where = policy.people_changes, "people_changes"
    for role in rules.roles:
        if role in NO_VOTE:
            message = f"changes of people are signed by {role.value}, who takes no part in decisions"
            yield in_policy(where, "roles", message=message, advice="name other roles")
            return
    possible = [person.name for person in policy.people if set(rules.roles) & set(person.roles)]
    if len(possible) - 1 < rules.signers:
        message = f"{rules.signers} people sign a change of somebody else's keys, and {len(possible)} have one of its roles"
        advice = "ask for fewer under `signers`, name more `roles`, or more people: else a lost key is not replaced without a ratification"
        yield in_policy(where, "signers", message=message, advice=advice)
    if not SHORTEST_TO_SEE <= rules.delay <= LONGEST_TO_SEE:
        message = "a change of people is shown before it is in force: long enough to be stopped, short enough to be of use"
        yield in_policy(where, "delay", message=message, advice="say 10m to 7d, for example 1h")


def eligible(policy: Policy, stage: Stage) -> Mapping[str, Standing]:
    """Who can ever vote on the stage, and as what: with own roles and turns of duty. (A delegation adds nothing here: where
    a delegate could sit, the giver could. It counts when the giver is missing: see `absence`.)"""
    opens, turns = applications_of(policy, stage), _turns(policy)
    return {
        person.name: standing_for(policy, stage, person.name, turns=turns.get(person.name, ()), loans=(), opens=opens)
        for person in policy.people
    }


def proposers(policy: Policy) -> list[str]:
    """Who can make the plan that is voted on."""
    turns = _turns(policy)
    return [person.name for person in policy.people if PROPOSES in (*person.roles, *turns.get(person.name, ()))]


def _turns(policy: Policy) -> dict[str, set[Role]]:
    turns: dict[str, set[Role]] = {}
    for duty in policy.duties:
        for turn in duty.turns:
            turns.setdefault(turn.person, set()).add(duty.role)
    return turns


def _quorum(
    where: tuple[str, ...], what: str, votes: Mapping[Role, int], people: Mapping[str, Standing], makers: list[str], among: str = ""
) -> Iterator[Problem]:
    for role in votes:
        if role in NO_VOTE:
            yield in_policy(
                *where, role.value, message=f"{what} asks for a vote of {role.value}, who has none", advice="ask for another role"
            )
            return
    for proposer in makers:
        if seats(votes, {name: item for name, item in people.items() if name != proposer}) is not None:
            return
    lacking = missing(votes, {name: item for name, item in people.items() if name not in makers[:1]})
    short = listed([f"{count} × {role.value}" for role, count in lacking.items()]) or "a network engineer who proposes it"
    message = f"{what} has no possible quorum{among}: beside the proposer, {short} is missing"
    yield in_policy(*where, message=message, advice="name more persons with these roles, or ask for fewer votes")
