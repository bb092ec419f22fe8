"""Stages as people read them in a terminal."""

from __future__ import annotations

from typing import Any

from orchestrator.cli.lift import of_lift
from orchestrator.cli.time_text import of_time, until

Json = dict[str, Any]


def of_list(stages: list[Json]) -> str:
    lines = [_rehearsal(stages[0])] if stages and stages[0]["rehearsal"] else []
    for stage in stages:
        votes = f"{stage['votes']}/{stage['votes_needed']}"
        waived = f"  [waived: {', '.join(waiver['gate'] for waiver in stage['waivers'])}]" if stage["waivers"] else ""
        title = f"{stage['title']['en']} · {stage['title']['fr']}"
        lines.append(f"{stage['stage']:<26} {stage['state']:<18} {votes:>5} votes  {title}{waived}{until(stage)}")
    return "\n".join(lines)


def of_stage(stage: Json) -> str:
    """State, what it waits for, the plan in short, the votes."""
    lines = [_rehearsal(stage)] if stage["rehearsal"] else []
    lines.append(f"{stage['stage']}: {stage['state']}" + (f" ({stage['detail']})" if stage["detail"] else ""))
    lines.append(f"  {stage['title']['en']} · {stage['title']['fr']}")
    lines += [
        f"  UNKNOWN {one['device']} since {one['since']}, tried {one['tries']} times, last {one['last']}: {one['why']}"
        for one in stage["unknown"]
    ]
    lines += of_time(stage)
    lines += conversations(stage)
    lines += [f"  waits: {unmet['message']} [{unmet['rule']}]" for unmet in stage["unmet"]]
    lines += waived(stage)
    if plan := stage["plan"]:
        lines.append(f"  plan {plan['digest'][:16]}… by {plan['proposer']}, until {plan['expires']}; observed {plan['observation_s']} s")
        for device in plan["devices"]:
            releases = f", releases {', '.join(device['releases'])}" if device["releases"] else ""
            lines.append(f"    {device['device']}: {device['openings']} openings{releases}")
        lines += beside_the_packets(plan)
        lines += possible(plan)
        lines.append(f"  probes: {plan['probes']}" + (f"; not probed: {'; '.join(plan['unprobed'])}" if plan["unprobed"] else ""))
    lines += counted(stage)
    lines += [f"  vote: {vote['choice']} by {vote['person']}" + (f": {vote['reason']}" if vote["reason"] else "") for vote in stage["cast"]]
    if stage["still_needed"] and stage["plan"]:
        lines.append("  still needed: " + ", ".join(f"{count} {role}" for role, count in stage["still_needed"].items()))
    return "\n".join(lines)


def conversations(stage: Json) -> list[str]:
    """Which partner has what, where they do not all have the same."""
    by_state: dict[str, list[str]] = {}
    for one in stage["conversations"]:
        by_state.setdefault(one["state"], []).append(f"{one['flow']} with {one['partner']}")
    return [f"  {state}: {', '.join(held)}" for state, held in by_state.items()] if len(by_state) > 1 else []


def counted(stage: Json) -> list[str]:
    """What devices counted while it was probed. Nothing at all where something came through went another way."""
    lines = []
    for one in stage["counted"]:
        if one["unread"]:
            said = f"could not be read: {one['unread']}"
        elif one["counting"]:
            said = f"{one['packets']} packets through {one['counting']} of {one['openings']} openings"
        else:
            said = f"NOTHING through {one['openings']} openings: if a probe came through, it went another way"
        lines.append(f"  counted by {one['device']}: {said}")
    return lines


def waived(stage: Json) -> list[str]:
    """The waivers that stand for its gates now: nobody reads or votes without seeing them."""
    return [f"  WAIVED · DÉROGATION {of_waiver(waiver)}" for waiver in stage["waivers"]]


def of_waiver(waiver: Json) -> str:
    who = f"requested by {waiver['requested_by']}" + (f", granted by {waiver['granted_by']}" if waiver["granted_by"] else "")
    partner = f" for {waiver['partner']}" if waiver["partner"] else ""
    said = f"{waiver['reason']}; accepted risk: {waiver['accepted_risk']}"
    return f"{waiver['id']} {waiver['gate']} of {waiver['stage']}{partner} until {waiver['until']}, {who}: {said}"


def beside_the_packets(plan: Json) -> list[str]:
    """Of a resumption the stages that it resumes and leaves out, of a lift what it names: nobody votes without seeing them."""
    lines = [f"    resumes {item['stage']} as it was, plan {item['plan_digest'][:16]}…" for item in plan["resumes"]]
    lines += [f"    left out: {text}" for text in plan["left_out"]]
    return lines + (of_lift(plan["lift"]) if plan["lift"] else [])


def possible(plan: Json, most: int = 12) -> list[str]:
    """What becomes possible, in packets."""
    lines = [f"    + {line['source']} → {line['destination']} {line['service']} ({line['partner']})" for line in plan["becomes_possible"]]
    return [*lines[:most], f"    … and {len(lines) - most} more (--json shows all)"] if len(lines) > most else lines


def to_be_signed(statement: Json, stage: Json) -> str:
    """What a voter sees before signing."""
    lines = [_rehearsal(stage)] if statement["rehearsal"] else []
    lines.append(f"you {statement['choice']} {statement['stage']} of {statement['site']}, plan {statement['plan_digest']}")
    lines += [*beside_the_packets(stage["plan"]), *possible(stage["plan"])] if stage["plan"] else []
    lines += of_time(stage)
    lines += waived(stage)
    head = statement["log_head"]
    lines.append(f"  valid until {statement['expires']}; log seen: {head['size']} events, {head['root'][:16]}…")
    return "\n".join(lines)


def _rehearsal(stage: Json) -> str:
    return "REHEARSAL · EXERCICE" if stage["rehearsal"] else ""
