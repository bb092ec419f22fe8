"""What each platform does and does not, as Markdown: docs/devices.md is made of this, and a test holds them equal."""

from __future__ import annotations

from orchestrator.dialects import PLATFORMS, dialect_for
from orchestrator.dialects.base import Traits


def platforms_as_markdown() -> str:
    """One section per platform, from the traits that its dialect declares."""
    return "\n".join(_section(dialect_for(platform).traits) for platform in PLATFORMS)


def _section(traits: Traits) -> str:
    facts = (
        ("Composition with the site's own rules", f"`{traits.composition.value}`"),
        ("Fence against late commands", f"`{traits.fence.value}`"),
        ("Longest deadline on the device", f"{traits.longest_deadline_s:,} s"),
        ("Boots with", traits.boot),
        ("Not covered", traits.uncovered),
    )
    rows = "\n".join(f"| {name} | {text} |" for name, text in facts)
    notes = "\n".join(f"- {note}" for note in traits.notes)
    return f"## {traits.platform}\n\n| | |\n|---|---|\n{rows}\n\n{notes}\n"
