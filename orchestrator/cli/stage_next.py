"""`orchestrator stage next`: what can be opened now, in which order; why not the rest; what falls due."""

from __future__ import annotations

import argparse
from typing import Any

from orchestrator.cli import exit_codes
from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.time_text import of_end
from orchestrator.errors import UnknownName

Json = dict[str, Any]


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser("next", help="what can be opened now, why not the rest, what falls due", description=__doc__)
    parser.add_argument("stage", nargs="?", help="this stage only, with what to do about each thing that it lacks")
    add_options(parser)
    parser.set_defaults(func=run_next)


def run_next(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/next")
    if arguments.stage is not None and arguments.stage not in {stage["stage"] for stage in answer["stages"]}:
        raise UnknownName(f"there is no stage {arguments.stage!r}", advice="orchestrator stage list")
    show(arguments, answer, as_text(answer, arguments.stage))
    return exit_codes.OK


def as_text(answer: Json, only: str | None = None) -> str:
    """Everything, with advice for the quickest of each stage; or one stage, with all advice."""
    if only is not None:
        return "\n".join(line for stage in answer["stages"] if stage["stage"] == only for line in _stage(stage, in_full=True))
    lines = ["REHEARSAL · EXERCICE"] if answer["rehearsal"] else []
    lines += _openings(answer)
    lines += resume(answer["resume"])
    lines += [f"  everywhere: {_lack(lack)}\n              → {lack['advice']}" for lack in answer["everywhere"]]
    waiting = [stage for stage in answer["stages"] if stage["step"] != "done" or stage["held"]]
    if waiting:
        lines.append("\nStage by stage · Palier par palier")
        lines += [line for stage in waiting for line in _stage(stage)]
    if answer["ends"]:
        lines.append("\nEnds of what is open · Fins de ce qui est ouvert")
        lines += [f"  {of_end(end)}" for end in answer["ends"]]
    if answer["obligations"]:
        lines.append("\nObligations · Échéances")
        lines += [_due(due) for due in answer["obligations"]]
    return "\n".join(lines)


def resume(found: Json | None) -> list[str]:
    """After a cut-off: that what was open can be resumed by one vote, until when, and what that lacks."""
    if found is None:
        return []
    until = f", until {_minute(found['until'])}" if found["until"] else ""
    left_out = [f"    not that way: {text}" for text in found["left_out"]]
    if not found["stages"]:
        return ["Nothing of what was open can be resumed as it was · Rien ne peut être repris tel quel", *left_out]
    lines = [f"One vote can resume what was open · Un seul vote peut reprendre: {', '.join(found['stages'])}{until}", *left_out]
    if not found["lacks"]:
        return [*lines, "     → orchestrator stage plan resume"]
    return lines + [f"    not yet : {lack['message']} [{lack['rule']}]\n              → {lack['advice']}" for lack in found["lacks"]]


def _openings(answer: Json) -> list[str]:
    """Partners of one flow on one line, in the order of the criteria."""
    if not answer["openings"]:
        return ["Nothing can be opened now · Rien ne peut être ouvert maintenant"]
    grouped: dict[tuple[str, str], list[Json]] = {}
    for item in answer["openings"]:
        grouped.setdefault((item["stage"], item["flow"]), []).append(item)
    lines = ["Can be opened now · Peut être ouvert maintenant"]
    for number, ((stage, flow), items) in enumerate(grouped.items(), start=1):
        criteria = items[0]["criteria"]
        partners = ", ".join(item["partner"] for item in items)
        lines.append(
            f"{number:3}. {flow} → {partners}  [{stage}]  care {criteria['care']}, volume {criteria['volume']}, risk {criteria['risk']}"
        )
    return [*lines, f"     order: {answer['ordered_by']['en']}", f"     ordre : {answer['ordered_by']['fr']}"]


def _stage(stage: Json, *, in_full: bool = False) -> list[str]:
    lines = [f"{stage['stage']}: {stage['state']} · {stage['title']['en']} · {stage['title']['fr']}"]
    if stage["unreachable"]:
        lines.append(f"    never: {stage['unreachable']}")
    if stage["step"] in ("plan", "vote", "apply", "revert", "wait"):
        lines.append(f"    next: {stage['step']}: {stage['advice']}")
    elif stage["step"] == "done":
        lines.append(f"    deferred: {', '.join(sorted({item['partner'] for item in stage['held']}))}; {stage['advice']}")
    if stage["votes"]:
        votes = "; ".join(f"{role} ({', '.join(people) or 'nobody now'})" for role, people in stage["votes"].items())
        lines.append(f"    votes needed: {votes}")
    if stage["openings"] and stage["canary"]:
        lines.append(f"    first, alone: {stage['canary']}")
    quickest = stage["quickest"]
    for lack in stage["lacks"]:
        lines.append(f"    {'quickest' if lack == quickest else 'not yet '}: {_lack(lack)}")
        if in_full or lack == quickest:
            lines.append(f"              → {lack['advice']}")
    if stage["lacks"] and not stage["unreachable"]:
        about = "" if stage["exact"] else " (by what things usually take)"
        lines.append(f"    at the earliest: {_minute(stage['earliest']) + about if stage['earliest'] else 'nobody can say'}")
    return lines


def _lack(lack: Json) -> str:
    whom = "; ".join(f"{key} {', '.join(lack[key])}" for key in ("flows", "partners") if lack[key])
    when = ""
    if lack["lifted_at"]:
        when = f", {'until' if lack['exact'] else 'about'} {_minute(lack['lifted_at'])}"
    return f"{lack['message']} [{lack['rule']}]{f' ({whom})' if whom else ''}{when}"


def _due(due: Json) -> str:
    if due["fulfilled"]:
        when = "done · fait"
    elif due["due"] is None:
        when = "counts from the cut-off · à compter de la coupure"
    else:
        left = abs(due["left_s"])
        text = f"{left // 86400} d {left % 86400 // 3600} h" if left >= 86400 else f"{left // 3600} h {left % 3600 // 60} min"
        when = f"{_minute(due['due'])}, " + (f"OVERDUE · EN RETARD by {text}" if due["overdue"] else f"in {text}")
    by = ", ".join(f"{flow['flow']} ({flow['stage'] or 'no stage'}{', open' if flow['open'] else ''})" for flow in due["flows"])
    who = f"; {due['owner']}" if due["owner"] else ""
    return f"  {when}: {due['title']['en']} · {due['title']['fr']}{f' ← {by}' if by else ''}{who} ({due['source']})"


def _minute(time: str) -> str:
    return f"{time[:16]}Z"
