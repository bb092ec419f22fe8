"""Windows, ends and extensions as people read them in a terminal: in UTC, and as clocks on the site show them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
_BEFORE = ("planned", "awaiting-approval", "approved")


def of_time(stage: Json) -> list[str]:
    """From when to when it is open, what happens at its end, who asks for a later one."""
    lines = []
    if window := stage["window"]:
        lines.append(f"  window · fenêtre {window['starts']} – {window['ends']}, closes by itself · se ferme d'elle-même")
        lines.append(f"    ({window['starts_local']} – {window['ends_local']}, {window['timezone']})")
    elif (plan := stage["plan"]) and plan["open_for_s"]:
        then = "closes by itself · se ferme de lui-même" if plan["on_expiry"] == "close" else "then an alarm · puis une alarme"
        lines.append(f"  open for · ouvert pendant {plan['open_for_s']} s, {then}")
    if end := stage["end"]:
        lines.append(f"  {of_end(end)}")
    return lines + [f"  extension {of_extension(item)}" for item in stage["extensions"]]


def of_end(end: Json) -> str:
    """One end; loud where it has passed and nothing has closed."""
    left = abs(end["left_s"])
    text = f"{left // 3600} h {left % 3600 // 60} min"
    if end["passed"]:
        return f"!! END PASSED · ÉCHÉANCE DÉPASSÉE {end['at']} ({text} ago): {end['stage']} IS STILL OPEN · EST TOUJOURS OUVERT"
    when = f"in {text}" if end["left_s"] > 0 else "now, being closed"
    what = "an alarm" if end["kind"] == "alarm" else "closes by itself"
    asked = f"; extension {end['extension_requested']} asked for" if end["extension_requested"] else ""
    return f"{end['stage']} ends · fin {end['at']} ({end['at_local']}), {when}: {what}{asked}"


def of_extension(item: Json) -> str:
    granted = f", granted by {item['granted_by']}" if item["granted_by"] else ", waits for a second person"
    until = f"until {item['until']} ({item['until_local']})"
    return f"{item['id']} of {item['stage']}: {until}, asked by {item['requested_by']}: {item['reason']}{granted}"


def until(stage: Json) -> str:
    """For a list of stages."""
    if stage["end_passed"]:
        return "  [END PASSED · ÉCHÉANCE DÉPASSÉE]"
    window = stage["window"]
    if stage["ends_at"]:
        return f"  [until {stage['ends_at']}]"
    return f"  [from {window['starts']} to {window['ends']}]" if window and stage["state"] in _BEFORE else ""
