"""`orchestrator status`: the posture, and the last cut-off device by device, from its progress file and from the log.

Works while a cut-off runs (also one whose terminal died), with the server stopped, and with a log that cannot be read.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.adapters.cutoff_files import CutoffFiles
from orchestrator.cli.exit_codes import OK
from orchestrator.cli.recut import of_recut
from orchestrator.cli.time_text import of_end
from orchestrator.domain.plain_text import shown
from orchestrator.errors import OrchestratorError
from orchestrator.settings import StateDirectory, state_directory
from orchestrator.wiring_log import log_is_there, open_log

if TYPE_CHECKING:
    from orchestrator.domain.state import SiteState

_POSTURES = {"verified": "isolated", "partial": "partially-isolated", "running": "isolating"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("status", help="posture and last cut-off", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--state", default=argparse.SUPPRESS, metavar="DIR", help="state directory")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    state = StateDirectory(Path(arguments.state)) if getattr(arguments, "state", None) else state_directory()
    found = status(state)
    print(shown(json.dumps(found, ensure_ascii=False) if arguments.json else "\n".join(lines(found))))
    return OK


def status(state: StateDirectory) -> dict[str, Any]:
    """`posture` is the log's; the progress file's when the log cannot be read or has not heard of that cut-off yet."""
    found: dict[str, Any] = {"verb": "status", "posture": "normal", "posture_from": "nothing recorded", "log": "none", "last_cutoff": None}
    try:
        cutoff = CutoffFiles(state.root, state.elsewhere).last_progress()
    except (OSError, ValueError) as failure:
        cutoff = None
        found["progress_error"] = str(failure)
    if cutoff is not None:
        if cutoff["outcome"] == "running" and not Path(f"/proc/{cutoff['pid']}").exists():
            cutoff["outcome"] = "interrupted"
        found.update(last_cutoff=cutoff, posture=_POSTURES.get(cutoff["outcome"], "partially-isolated"), posture_from="progress file")
    if log_is_there(state):
        found.update(_from_log(state, cutoff))
    return found


def _from_log(state: StateDirectory, cutoff: dict[str, Any] | None) -> dict[str, Any]:
    from orchestrator.api.views_windows import all_ends, recut
    from orchestrator.domain.folding import fold

    try:
        with open_log(state, read_only=True) as log:
            site = fold(log.read())
            events = log.head().size
            broken = str(log.broken) if log.broken else ""
    except OrchestratorError as failure:
        return {"log": f"cannot be read: {failure.args[0]}"}
    told: dict[str, Any] = {"log": f"broken: {broken}" if broken else f"{events} events"}
    if cutoff is None or (site.last_cutoff is not None and site.last_cutoff.epoch >= int(cutoff["epoch"])):
        told.update(posture=site.posture.value, posture_since=site.posture_since, posture_from="log", rehearsal=site.rehearsal)
        told["stages"] = {name: stage.state.value for name, stage in site.stages.items()}
        now = datetime.now(UTC)
        told["waivers"] = [
            {"id": w.id, "stage": w.stage, "gate": w.gate, "partner": w.partner, "until": w.until, "granted_by": w.granted_by}
            for w in site.waivers_in_force(now)
        ]
        told.update(_watched(site))
        told.update(_subtracted(site))
        told["resume"] = _resume(site, now)
        told["ends"] = all_ends(site, now)
        told["recuts"] = [recut(site, item, now) for item in site.recuts.values() if not item.ended_at]
        told["devices"] = {name: {"step": device.step, "slots": sorted(device.slots)} for name, device in site.devices.items()}
    return told


def _subtracted(site: SiteState) -> dict[str, Any]:
    """What people have closed alone: re-isolations that are not checked or not reopened, the block list, and the devices that
    are owed something of it by the log. A re-isolation that found nothing open is shown as long as a device is owed its fence."""
    from orchestrator.domain.conversation_states import ConversationState
    from orchestrator.domain.owed import owed
    from orchestrator.wiring_hospital import dialect_named

    declared = site.ratified.site.devices if site.ratified is not None else ()
    keeping = [device.name for device in declared if dialect_named(device.platform).traits.blocks]
    closed = {
        one.id
        for one in site.reisolations.values()
        for name, pairs in one.stages.items()
        for pair in pairs
        if site.stage(name).conversations.get(pair) is ConversationState.REISOLATED
    }
    owing = [one.device for one in owed(site, keeping)]
    return {
        "reisolations": [
            {"id": one.id, "what": one.what, "name": one.name, "by": one.by, "at": one.at, "checked": one.checked, "leaks": list(one.leaks)}
            for one in site.reisolations.values()
            if one.id in closed or (one.checked != "successful" and (owing or not one.found_nothing))
        ],
        "blocked": [str(network) for network in site.blocklist],
        "owed": owing,
    }


def _resume(site: SiteState, now: datetime) -> dict[str, Any] | None:
    """What the last cut-off closed and one vote could resume; None when there is nothing."""
    from orchestrator.domain.resumption import outlook

    found = outlook(site, now)
    if found is None:
        return None
    until = found.until.isoformat(timespec="seconds") if found.until is not None else None
    lacks = [lack.rule for lack in found.lacks]
    return {"stages": list(found.stages), "left_out": list(found.left_out), "until": until, "lacks": lacks}


def _watched(site: SiteState) -> dict[str, Any]:
    """What the log says of drift, of devices that cannot be read, and of which server acts. `tries`: as many at least."""
    from orchestrator.domain.device_step_states import DeviceStepState

    watched = site.watched
    unknown = [
        {
            "device": device.name,
            "since": device.since,
            "tries": tried.tries if (tried := watched.unreachable.get(device.name)) is not None and tried.since == device.since else 0,
        }
        for device in site.devices.values()
        if device.step is DeviceStepState.UNKNOWN
    ]
    drift = [
        {"device": status.device, "since": status.since, "found": [item.text for item in status.found]}
        for status in watched.drift.values()
        if status.found
    ]
    return {"server": watched.server.name if watched.server is not None else None, "drift": drift, "unknown": unknown}


def lines(found: dict[str, Any]) -> list[str]:
    since = f" since {found['posture_since']}" if found.get("posture_since") else ""
    told = [f"posture   {found['posture']}{since} (from: {found['posture_from']})", f"log       {found['log']}"]
    cutoff = found["last_cutoff"]
    if cutoff is None:
        told.append("cut-off   none recorded here")
        return [*told, *resumable(found), *dated(found), *watched(found), *subtracted(found), *waived(found)]
    told.append(f"cut-off   {cutoff['outcome']}: profile {cutoff['profile']}, epoch {cutoff['epoch']}, by {cutoff['by'] or 'nobody named'}")
    for device in cutoff["devices"]:
        detail = f" — {device['detail']}" if device["step"] != "applied" else ""
        guards = ", ".join(device["guards"])
        told.append(f"  {device['device']:<12} {device['step']:<8} {device['seconds_ms'] / 1000:6.2f} s — {guards}{detail}")
    told += [f"  open      {point}" for point in cutoff["open"]]
    told += [f"  warning   {warning}" for warning in cutoff["warnings"]]
    told += [f"stage     {name}: {state}" for name, state in found.get("stages", {}).items()]
    told += resumable(found)
    return told + dated(found) + watched(found) + subtracted(found) + waived(found)


def dated(found: dict[str, Any]) -> list[str]:
    """Ends of what is open, loud where one has passed; planned re-cuts, loud where one was missed."""
    told = [f"end       {of_end(end)}" for end in found.get("ends", [])]
    return told + [f"re-cut    {line}" for item in found.get("recuts", []) for line in of_recut(item).splitlines()]


def subtracted(found: dict[str, Any]) -> list[str]:
    """Re-isolations, loud where something still passes; the block list; devices that are owed something of them."""
    told = []
    for one in found.get("reisolations", []):
        probes = f"probes: {one['checked'] or 'not asked yet'}"
        told.append(f"closed    {one['id']} {one['what']} {one['name']} by {one['by']} at {one['at']}; {probes}")
        told += [f"  open      {leak}" for leak in one["leaks"]]
    blocked = found.get("blocked", [])
    told += [f"blocked   {', '.join(blocked[:8])}{f' and {len(blocked) - 8} more' if len(blocked) > 8 else ''}"] if blocked else []
    return told + [f"owed      {device}: not closed, fenced or blocked as ordered yet" for device in found.get("owed", [])]


def watched(found: dict[str, Any]) -> list[str]:
    """Devices that cannot be read, and what is on others that the log does not say."""
    told = [f"server    {found['server']} acts"] if found.get("server") else []
    for device in found.get("unknown", []):
        told.append(f"unknown   {device['device']} since {device['since']}, tried {device['tries']} times or more")
    for device in found.get("drift", []):
        told += [f"drift     {device['device']} since {device['since']}: {text}" for text in device["found"]]
    return told


def resumable(found: dict[str, Any]) -> list[str]:
    """That one vote can resume what was open, and until when; before the false alarm is declared, how to say so."""
    resume = found.get("resume")
    if not resume:
        return []
    left_out = [f"resume    not {text}" for text in resume["left_out"]]
    if not resume["stages"]:
        return left_out
    if "false-alarm-missing" in resume["lacks"]:
        how = "if it was a false alarm: orchestrator false-alarm --reason TEXT"
        return [f"resume    {', '.join(resume['stages'])}: {how}", *left_out]
    how = f"not now ({', '.join(resume['lacks'])})" if resume["lacks"] else "orchestrator stage plan resume"
    return [f"resume    {', '.join(resume['stages'])}: until {resume['until']}: {how}", *left_out]


def waived(found: dict[str, Any]) -> list[str]:
    """The waivers that stand for a gate now."""
    return [
        f"waiver    {waiver['id']} {waiver['gate']} of {waiver['stage']}{' for ' + waiver['partner'] if waiver['partner'] else ''}"
        f" until {waiver['until']}, granted by {waiver['granted_by']}"
        for waiver in found.get("waivers", [])
    ]
