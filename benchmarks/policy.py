"""`make bench-policy`: the policy engine on one machine, in one run; medians; the last line is one JSON object.

Rules: two ordered lists (first match wins) are compared exactly, the second one being the first in other words, or that
with one more rule. The same lists go to Z3, which must give the same verdict; where it names a packet, our difference
must hold it. Times are whole: from the lists to the answer. `times_faster_…` is the smaller of the two ratios.

Plans: a policy of N flows is checked (order included) and every stage is planned, scripts and digest included, each on
top of the ones before it. Caches are those of one process that starts with this policy. Aerleon's time for rendering
the same terms stands beside it as a yardstick: it renders text, and does nothing else of this.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Address
from typing import Any, TypeVar

from benchmarks import policy_rules
from benchmarks.competitors import aerleon_render, z3_rules
from benchmarks.policy_site import laid, policy_of, site_of
from orchestrator.dialects import dialect_for
from orchestrator.dialects.base import Script
from orchestrator.domain.check import check
from orchestrator.domain.layer import DeviceChange, Element
from orchestrator.domain.network import Device, Site
from orchestrator.domain.packets import Direction
from orchestrator.domain.plan import RenderedScript
from orchestrator.domain.planning import plan_stage
from orchestrator.domain.policy import Policy
from orchestrator.domain.rule_lists import Rule, difference
from orchestrator.errors import Refused
from orchestrator.service.garbage import without_collecting

_T = TypeVar("_T")
SIZES = ((100, 10), (1_000, 100), (10_000, 1_000))  # flows, devices


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench-policy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-plans", action="store_true", help="rules only, while tuning")
    options = parser.parse_args(argv)
    found: dict[str, Any] = {"rounds": options.rounds}
    found |= compared(1_000, options.rounds, with_z3=True)
    found |= compared(10_000, options.rounds, with_z3=False)
    found |= growth(options.rounds) | worst()
    if not options.no_plans:
        for flows, devices in SIZES:
            found |= planned(flows, devices, options.rounds)
        found |= rendered_by_aerleon(*SIZES[1], options.rounds)
    print(json.dumps(found))
    return 0


def compared(count: int, rounds: int, *, with_z3: bool) -> dict[str, Any]:
    """Equal and differing in one, ours and Z3's."""
    before = policy_rules.site_rules(count, seed=1)
    equal = policy_rules.in_other_words(before, seed=2)
    found: dict[str, Any] = {}
    ratios, solver_ratios = [], []
    for name, after in (("equal", equal), ("one", policy_rules.with_one_change(equal))):
        ours, answer = timed(lambda after=after: difference(before, after), rounds)  # type: ignore[misc]
        require(bool(answer) == (name == "one"), f"{count} rules, {name}: {answer.describe()}")
        found[f"diff_{count}_{name}_s"] = ours
        if with_z3:
            built, question = timed(lambda after=after: z3_rules.Question(before, after), rounds)  # type: ignore[misc]
            asked, verdict = timed(lambda after=after: z3_rules.Question(before, after).ask(), rounds)  # type: ignore[misc]
            del question
            require(verdict.equal == (not answer), f"{count} rules, {name}: Z3 says {verdict}")
            if verdict.witness is not None:
                source, destination, protocol, selector = verdict.witness
                packet = (IPv4Address(source), IPv4Address(destination), protocol, selector, Direction.IN)
                require(answer.appears.contains(*packet) or answer.disappears.contains(*packet), f"Z3 found {verdict.witness}")
            found[f"z3_{count}_{name}_s"] = asked
            ratios.append(asked / ours)
            solver_ratios.append(max(asked - built, 0.0) / ours)
        say(f"{count} rules, {name}: {ours:.3f} s" + (f", Z3 {found[f'z3_{count}_{name}_s']:.3f} s, same verdict" if with_z3 else ""))
    found[f"diff_{count}_s"] = max(found[f"diff_{count}_equal_s"], found[f"diff_{count}_one_s"])
    if with_z3:
        found[f"times_faster_than_z3_{count}"] = rounded(min(ratios))
        found[f"times_faster_than_z3_{count}_solver_only"] = rounded(min(solver_ratios))  # without building its formula
    return found


def growth(rounds: int) -> dict[str, Any]:
    """Disjoint rules, 16 times as many; the exponent beyond n log n (0: exactly n log n, negative: better)."""
    small, large = 1_000, 16_000
    times = {}
    for count in (small, large):
        before = policy_rules.disjoint(count)
        after = [Rule(rule.box) for half in (before[1::2], before[::2]) for rule in half]
        last = after.pop()
        times[count], answer = timed(lambda before=before, after=after: difference(before, after), rounds)  # type: ignore[misc]
        require(not answer.appears and answer.disappears.boxes() == (last.box,), "the missing rule is the difference")
    factor = times[large] / times[small]
    beyond = factor / (large / small * math.log(large) / math.log(small))
    say(f"disjoint rules, {small} and {large}: {times[small]:.3f} s and {times[large]:.3f} s, {beyond:.2f} x n log n")
    return {"disjoint_1000_s": times[small], "disjoint_16000_s": times[large], "growth_over_n_log_n": rounded(beyond)}


def worst() -> dict[str, Any]:
    """Rules that cross one another in every dimension: exact while it can be, then refused."""
    some, other = policy_rules.tangle(30, seed=3), policy_rules.tangle(30, seed=4)
    exact, answer = timed(lambda: difference(some, other), 1)
    require(bool(answer), "two tangles differ")
    many, more = policy_rules.tangle(10_000, seed=5), policy_rules.tangle(10_000, seed=6)
    started = time.perf_counter()
    try:
        difference(many, more)
        raise RuntimeError("a tangle of 10,000 rules was compared: raise the bench's size")
    except Refused as refusal:
        refused = time.perf_counter() - started
        require(refusal.rule == "packet-set-too-complex", str(refusal))
    narrow, _ = timed(lambda: difference(many, policy_rules.with_one_change(many)), 1)
    say(f"tangles: 30 rules {exact:.2f} s, 10,000 refused after {refused:.1f} s, 10,000 with one change {narrow:.2f} s")
    return {"tangle_30_s": exact, "tangle_10000_refused_after_s": rounded(refused), "tangle_10000_one_s": narrow}


def planned(flows: int, devices: int, rounds: int) -> dict[str, Any]:
    times: list[tuple[float, float, float]] = []
    for _ in range(rounds):
        site, policy = site_of(devices, flows), policy_of(devices, flows)  # new objects: no cache knows them
        with without_collecting():
            times.append(check_and_plan(site, policy))
    checking, laying, planning = (rounded(statistics.median(column)) for column in zip(*times, strict=True))
    whole = rounded(statistics.median(map(sum, times)))
    say(f"{flows} flows on {devices} devices: check {checking} s, layers {laying} s, plans {planning} s; together {whole} s")
    return {
        f"check_{flows}_flows_s": checking, f"layers_{flows}_flows_s": laying, f"stages_{flows}_flows_s": planning,
        f"plan_{flows}_flows_s": whole,
    }  # fmt: skip


def check_and_plan(site: Site, policy: Policy) -> tuple[float, float, float]:
    """Seconds for the check, for the layers of the profile, and for the plans of all stages."""
    marks = [time.perf_counter()]
    problems = check(site, policy)
    require(not problems, f"the bench's own policy is wrong: {problems[:1]}")
    marks.append(time.perf_counter())
    layers = laid(site, policy)
    marks.append(time.perf_counter())
    opened: dict[str, tuple[Element, ...]] = {}
    released: dict[str, Collection[str]] = {}
    flows = 0
    for stage in policy.stages:
        plan = plan_stage(
            site, policy, stage, layers_in_force=layers, already_open=opened, already_released=released,
            policy_digest="p", inventory_digest="i", render=render,
        )  # fmt: skip
        require(len(plan.digest) == 64, "a plan has a digest")
        flows += len(plan.flows)
        for item in plan.devices:
            opened[item.device] = (*opened.get(item.device, ()), *item.change.elements)
            released[item.device] = {*released.get(item.device, ()), *item.change.releases}
    require(flows == len(policy.flows), "every flow is planned")
    marks.append(time.perf_counter())
    return marks[1] - marks[0], marks[2] - marks[1], marks[3] - marks[2]


def render(device: Device, change: DeviceChange, until: bool) -> tuple[RenderedScript, RenderedScript, RenderedScript]:
    words = dialect_for(device.platform)
    return _script(words.open(change)), _script(words.confirm(change, until=until)), _script(words.close(change))


def _script(script: Script) -> RenderedScript:
    return RenderedScript(kind=script.kind, command=script.command, text=script.text)


def rendered_by_aerleon(flows: int, devices: int, rounds: int) -> dict[str, Any]:
    terms = aerleon_render.Terms(policy_of(devices, flows))
    taken, size = timed(terms.render, rounds)
    require(size > flows, "Aerleon rendered the terms")
    say(f"Aerleon renders the terms of {flows} flows in {taken:.2f} s")
    return {f"aerleon_render_{flows}_flows_s": taken}


def timed(work: Callable[[], _T], rounds: int) -> tuple[float, _T]:
    """The median of the rounds in seconds, and the last answer."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        answer = work()
        times.append(time.perf_counter() - started)
    return rounded(statistics.median(times)), answer


def rounded(value: float) -> float:
    return float(f"{value:.3g}")


def require(holds: bool, what: str) -> None:
    """Verdicts are part of the measurement: a wrong one ends it."""
    if not holds:
        raise RuntimeError(what)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
