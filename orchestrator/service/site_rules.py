"""The site's own rules on each device, read beside our layer: kept as text, and known by their SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from difflib import unified_diff

from orchestrator.dialects.base import Script
from orchestrator.domain.network import Device
from orchestrator.domain.plan import SiteRules
from orchestrator.errors import DeviceUnknown
from orchestrator.ports import Credential, DeviceStep, Outcome, Target
from orchestrator.service.collaborators import Collaborators

_LINES = 3


def read_site_rules(collaborators: Collaborators, devices: Iterable[Device]) -> dict[str, dict[str, str]]:
    """Per device its sections (rules, translation, routes …) without ours, without what moves by itself, without secrets.

    Raises DeviceUnknown when any of them cannot be read: what is not known is not voted on.
    """
    found: dict[str, dict[str, str]] = {}
    wanted = {device.name: device for device in devices}
    scripts: dict[Target, Sequence[Script]] = {
        collaborators.target_for(device): (
            collaborators.dialect_for(device.platform).snapshot(),
            *collaborators.surroundings_for(device.platform).scripts,
        )
        for device in wanted.values()
    }
    answers: dict[str, tuple[Outcome, ...]] = dict.fromkeys(wanted, ())
    run = collaborators.reader.run(scripts, credential=Credential.CUT, deadline_s=collaborators.device_deadline_s, verb="read_back")
    for outcomes in run:
        answers.update({outcome.device: outcomes for outcome in outcomes})
    for name, device in wanted.items():
        words = collaborators.surroundings_for(device.platform)
        outcomes = answers[name]
        if len(outcomes) != 1 + len(words.scripts) or any(outcome.step is not DeviceStep.APPLIED for outcome in outcomes):
            why = outcomes[-1].detail if outcomes else "no answer"
            raise DeviceUnknown(f"the site's own rules of {name} could not be read: {why}", advice="orchestrator drift; then try again")
        try:
            found[name] = {part: _told(text) for part, text in words.sections([outcome.output for outcome in outcomes]).items()}
        except (ValueError, KeyError) as failure:
            raise DeviceUnknown(f"the site's own rules of {name} cannot be understood: {failure!r}") from failure
    return found


def _told(text: str) -> str:
    """Without lines that say nothing: a router prints `!` around blocks, ours among them."""
    return "\n".join(line for line in text.splitlines() if line.strip() not in ("", "!"))


def as_text(sections: dict[str, str]) -> str:
    """All sections, in their order: what is kept, and what the SHA-256 is of."""
    return "".join(f"=== {name}\n{sections[name]}\n" for name in sorted(sections))


def kept(collaborators: Collaborators, found: dict[str, dict[str, str]]) -> tuple[SiteRules, ...]:
    """The texts are kept where the wiring says; the same text has the same reference."""
    rules = []
    for name, sections in found.items():
        text = as_text(sections)
        rules.append(SiteRules(device=name, sha256=hashlib.sha256(text.encode()).hexdigest(), reference=collaborators.archive(text)))
    return tuple(rules)


def moved(before: dict[str, dict[str, str]], now: dict[str, dict[str, str]]) -> list[str]:
    """What differs, device by device and section by section, with the first lines; empty when the texts are equal to the byte."""
    found = []
    for name, sections in before.items():
        other = now.get(name, {})
        different = sorted(part for part in {*sections, *other} if sections.get(part) != other.get(part))
        for part in different:
            lines = list(unified_diff(sections.get(part, "").splitlines(), other.get(part, "").splitlines(), lineterm="", n=0))[2:]
            changed = [line for line in lines if not line.startswith("@@")]
            found.append(f"{name}, {part}: {'; '.join(changed[:_LINES])}{' …' if len(changed) > _LINES else ''}")
    return found
