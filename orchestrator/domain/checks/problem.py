"""One thing that is wrong, where the domain sees it: a path, not yet a file and a line."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Literal, NamedTuple, TypeAlias

Key: TypeAlias = str | int


class Problem(NamedTuple):
    """`source` says which files; `path` is a section, a name in it, and keys as in the file."""

    source: Literal["policy", "inventory"]
    path: tuple[Key, ...]
    message: str
    advice: str


def in_policy(*path: Key, message: str, advice: str) -> Problem:
    return Problem("policy", path, message, advice)


def in_inventory(*path: Key, message: str, advice: str) -> Problem:
    return Problem("inventory", path, message, advice)


def one_of(wanted: str, known: Iterable[str]) -> str:
    """Advice for a name that does not exist: the nearest ones, else all of them."""
    names = sorted(set(known))
    close = get_close_matches(wanted, names, n=3, cutoff=0.55) or [name for name in names if wanted in name][:3]
    if close:
        return f"did you mean {' or '.join(close)}? Otherwise add it"
    return f"use one of {listed(names)}" if names else "there is none yet: add it"


def listed(names: Collection[str]) -> str:
    """`a, b and 7 more`: never a wall of names."""
    ordered = sorted(names)
    return ", ".join(ordered) if len(ordered) <= 12 else f"{', '.join(ordered[:10])} and {len(ordered) - 10} more"
