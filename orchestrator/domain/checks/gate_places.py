"""Where each gate of a stage stands in its file, joined ones included."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.checks.problem import Key
from orchestrator.domain.gates import AllOf, AnyOf, Gate, SingleGate
from orchestrator.domain.policy import Stage


def placed(stage: Stage) -> Iterator[tuple[tuple[Key, ...], SingleGate]]:
    """Every single gate with its path, in order."""
    yield from _within(("stages", stage.name, "gates"), stage.gates)


def mandatory(stage: Stage) -> Iterator[tuple[tuple[Key, ...], SingleGate]]:
    """Those that must hold themselves: no alternative of an `any_of` does."""
    return ((path, gate) for path, gate in placed(stage) if "any_of" not in path)


def _within(path: tuple[Key, ...], gates: tuple[Gate, ...]) -> Iterator[tuple[tuple[Key, ...], SingleGate]]:
    for index, gate in enumerate(gates):
        if isinstance(gate, AllOf):
            yield from _within((*path, index, "all_of"), gate.all_of)
        elif isinstance(gate, AnyOf):
            yield from _within((*path, index, "any_of"), gate.any_of)
        else:
            yield (*path, index), gate
