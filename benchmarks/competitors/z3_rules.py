"""Whether two lists of rules decide alike, asked of Z3: one bit-vector per dimension, the verdict a chain of choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import z3

from orchestrator.domain.rule_lists import Rule


class Verdict(NamedTuple):
    """`witness` is (source, destination, protocol, selector) of a packet that is decided otherwise."""

    equal: bool
    witness: tuple[int, int, int, int] | None


class Question:
    """Built first and asked then, so that both can be timed. IPv4, one direction."""

    def __init__(self, before: Sequence[Rule], after: Sequence[Rule]) -> None:
        self._packet = [z3.BitVec(name, bits) for name, bits in (("s", 32), ("d", 32), ("p", 8), ("t", 16))]
        self._solver = z3.SolverFor("QF_BV")
        self._solver.add(z3.Xor(self._accepts(before), self._accepts(after)))

    def ask(self) -> Verdict:
        answer = self._solver.check()
        if answer == z3.unsat:
            return Verdict(True, None)
        if answer != z3.sat:
            raise RuntimeError(f"Z3 does not know: {self._solver.reason_unknown()}")
        model = self._solver.model()
        source, destination, protocol, selector = (model.eval(part, model_completion=True).as_long() for part in self._packet)
        return Verdict(False, (source, destination, protocol, selector))

    def _accepts(self, rules: Sequence[Rule]) -> Any:
        """From the last run of one verdict to the first: shallow, and quicker for Z3 than one choice per rule."""
        runs: list[tuple[bool, list[Any]]] = []
        for rule in rules:
            if not runs or runs[-1][0] != rule.accept:
                runs.append((rule.accept, []))
            runs[-1][1].append(self._matches(rule))
        found = z3.BoolVal(False)
        for accept, matches in reversed(runs):
            either = z3.Or(matches)
            found = z3.Or(either, found) if accept else z3.And(z3.Not(either), found)
        return found

    def _matches(self, rule: Rule) -> Any:
        box = rule.box
        limits = zip(self._packet, (box.source, box.destination, box.protocol, box.selector), (32, 32, 8, 16), strict=True)
        return z3.And([self._within(part, *interval, bits) for part, interval, bits in limits])

    @staticmethod
    def _within(part: Any, low: int, high: int, bits: int) -> Any:
        """A prefix as its leading bits, the cheapest question there is; any other range as two comparisons."""
        free = (high - low + 1).bit_length() - 1
        if high - low + 1 == 1 << free and low % (1 << free) == 0:
            return z3.BoolVal(True) if free == bits else z3.Extract(bits - 1, free, part) == (low >> free)
        return z3.And(z3.UGE(part, low), z3.ULE(part, high))
