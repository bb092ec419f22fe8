"""The paper sheet: what to unplug or switch off by hand, in which order, for a site whose network is lost too.

Plain text, French and English, one A4 page a profile (80 columns, 60 lines). Made from the cut pack alone.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from orchestrator.domain.pack import devices_of

WIDTH, LINES = 80, 60
CALL = ("incident-commander", "network-engineer", "security-officer", "director")
CHECKS_SHOWN = 4


def sheets(body: Mapping[str, Any], profile: str | None = None) -> str:
    """One page for the profile, or for every profile with the default first; pages end with a form feed."""
    default = body["default_profile"]
    names = [profile] if profile else [default, *sorted(name for name in body["profiles"] if name != default)]
    return "\f".join("\n".join(_page(body, name)) + "\n" for name in names)


def _page(body: Mapping[str, Any], name: str) -> list[str]:
    profile = body["profiles"][name]
    title = profile["title"]
    mark = " — EXERCICE / REHEARSAL" if body.get("rehearsal") else ""
    others = [step for step in profile.get("manual", ()) if step.partition(":")[0] not in {entry["device"] for entry in profile["devices"]}]
    sections = (
        ("DANS CET ORDRE, noter l'heure / IN THIS ORDER, note the time", _devices(body, name)),
        ("PUIS / THEN", [line for step in others for line in _wrapped(step, "   [ ] ")]),
        ("NE PAS COUPER / DO NOT CUT", [line for kept in profile.get("kept", ()) for line in _wrapped(kept, "   - ")]),
        ("VÉRIFIER / CHECK (de là / from there)", _checks(profile["probes"])),
        ("APPELER / CALL (numéros écrits à la main / numbers written by hand)", _people(body.get("people", {}))),
    )
    lines = [
        "=" * WIDTH,
        f"COUPURE À LA MAIN / CUT OFF BY HAND{mark}",
        f"{body['site']} — profil / profile « {name} »",
        *_wrapped(f"{title['fr']} / {title['en']}", ""),
        f"Paquet du / Pack of {body['made_at']}{'' if body['ratified'] else ' — NON RATIFIÉ / NOT RATIFIED'}",
        "=" * WIDTH,
    ]
    for number, (heading, content) in enumerate(((heading, content) for heading, content in sections if content), start=1):
        lines += [f"{number}. {heading}", *content]
    lines += ["Fait par / Done by: ____________________   le / on: __________   à / at: ______"]
    return lines


def _devices(body: Mapping[str, Any], name: str) -> list[str]:
    """Each box with what to unplug on it: the manual steps of the pack, or else its guards."""
    lines = []
    manual = body["profiles"][name].get("manual", ())
    for number, entry in enumerate(devices_of(dict(body), name), start=1):
        device = entry["device"]
        steps = [step.partition(":")[2].strip() for step in manual if step.partition(":")[0] == device]
        what = "; ".join(
            [step.replace("unplug", "débrancher / unplug") for step in steps]
            or [f"débrancher / unplug {guard}" for guard in entry["guards"]]
        )
        lines += _wrapped(f"{number}. {device} ({entry['platform']}, {entry['address']}): {what} — à / at ________", "   [ ] ")
    return lines


def _checks(probes: list[dict[str, Any]]) -> list[str]:
    """A few of each, IPv4 (they are typed by hand): what must fail, and what must work. Different places first."""
    lines = []
    for negative, words in ((True, "DOIT ÉCHOUER / MUST FAIL"), (False, "DOIT MARCHER / MUST WORK")):
        candidates = [probe for probe in probes if (probe["purpose"] == "negative") is negative and ":" not in str(probe["destination"])]
        places: dict[tuple[str, ...], dict[str, Any]] = {}
        for probe in candidates:
            places.setdefault((probe["vantage"],) if negative else (probe["vantage"], str(probe["destination"])), probe)
        for probe in list(places.values())[:CHECKS_SHOWN]:
            port = f" {probe['port']}" if probe.get("port") else ""
            about = f" ({probe['about']})" if probe.get("about") else ""
            lines += _wrapped(f"{words}: {probe['vantage']} → {probe['kind']} {probe['destination']}{port}{about}", "   [ ] ")
    return lines


def _people(people: Mapping[str, list[str]]) -> list[str]:
    lines = []
    for role in CALL:
        named = [person for person, roles in people.items() if role in roles]
        lines += [f"   {role:<20} {person:<24} ____________________" for person in named[:2]]
    return lines or ["   ______________________________  ____________________"]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=" " * len(indent))
