"""The notes of `policy check`: nothing that refuses, but worth knowing before the crisis. Who must not be missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

from orchestrator.domain.checks.absence import RATIFICATION, Absence

_MOST = 6


def as_json(absences: Sequence[Absence]) -> list[dict[str, Any]]:
    """One object per smallest set of missing people."""
    return [
        {
            "kind": "no-quorum",
            "stage": item.stage if item.stage != RATIFICATION else None,
            "what": item.stage,
            "missing": list(item.missing),
            "except_while": list(item.except_while),
        }
        for item in absences
    ]


def as_text(absences: Sequence[Absence]) -> list[str]:
    """One line per stage and per what makes up for it: the people, or the pairs, without whom there is no quorum."""
    groups: dict[tuple[str, tuple[str, ...]], list[tuple[str, ...]]] = {}
    for item in absences:
        groups.setdefault((item.stage, item.except_while), []).append(item.missing)
    return [_line(what, sets, unless) for (what, unless), sets in groups.items()]


def _line(what: str, sets: list[tuple[str, ...]], unless: tuple[str, ...]) -> str:
    name = "a later ratification" if what == RATIFICATION else what
    if sets == [()]:
        return f"{name} has a quorum only while {', '.join(unless)} runs"
    exception = f", except while {' and '.join(unless)} runs" if unless else ""
    return f"{name} has no quorum when {', or when '.join(_shown(sets))}{exception}"


def _shown(sets: list[tuple[str, ...]]) -> list[str]:
    """`any two of a, b, c` where every pair of them is meant; else the sets, the first few of them."""
    singles = [f"{people[0]} is missing" for people in sets if len(people) == 1]
    pairs = {frozenset(people) for people in sets if len(people) == 2}
    shown = [*singles, *_pairs(pairs)]
    return [*shown[:_MOST], f"{len(shown) - _MOST} other sets (--json)"] if len(shown) > _MOST else shown


def _pairs(pairs: set[frozenset[str]]) -> Iterable[str]:
    """Whole groups first: people of whom every pair is in the set."""
    left = set(pairs)
    for start in sorted({name for pair in pairs for name in pair}):
        group = [start]
        for name in sorted({name for pair in left for name in pair}):
            if name not in group and all(frozenset((name, other)) in left for other in group):
                group.append(name)
        if len(group) > 1:
            left -= {frozenset(pair) for pair in combinations(group, 2)}
            names = sorted(group)
            both = f"both {names[0]} and {names[1]}" if len(names) == 2 else f"any two of {', '.join(names)}"
            yield f"{both} are missing"
