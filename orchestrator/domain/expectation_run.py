"""The policy's own tests, asked of what is computed: which of them fail, and what stops or lets pass instead.

Each test is a conversation in every family that its two ends have in common, asked after the cut-off by its profile
and after the stages that it names. Packets, ways and reasons are those of `policy explain`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from orchestrator.domain.checks.problem import Key, Problem, in_policy
from orchestrator.domain.expectation_points import Point, Points
from orchestrator.domain.expectations import Expectation
from orchestrator.domain.explaining import Guard, Source, explain
from orchestrator.domain.network import Site
from orchestrator.domain.packet_ends import Packet, packets_between, service_text
from orchestrator.domain.packet_ways import way_of_packet
from orchestrator.domain.policy import Policy
from orchestrator.domain.questions import Way
from orchestrator.errors import InputError


class Outcome(NamedTuple):
    """`asked`: how many conversations. `why` and `advice` are empty when it passed; `key`: which line of it is meant."""

    test: str
    asked: int
    why: str = ""
    advice: str = ""
    key: str = "expect"

    @property
    def passed(self) -> bool:
        return not self.why


def outcomes(site: Site, policy: Policy) -> Iterator[Outcome]:
    """Every test of the policy, in order. Names in them must exist (`checks.words`)."""
    points = Points(site, policy)
    yield from (_outcome(points, test) for test in policy.tests)


def expectations(site: Site, policy: Policy) -> Iterator[Problem]:
    """The tests that fail, as findings of `policy check`."""
    for outcome in outcomes(site, policy):
        if not outcome.passed:
            path: tuple[Key, ...] = ("tests", outcome.test, outcome.key)
            yield in_policy(*path, message=f"the test {outcome.test} fails: {outcome.why}", advice=outcome.advice)


def _outcome(points: Points, test: Expectation) -> Outcome:
    try:
        packets = packets_between(points.site, points.policy, test.source, test.destination, test.service)
    except InputError as error:
        message, _, _ = str(error).partition("\n")
        key = "service" if "port" in message else "destination" if repr(test.destination) in message else "source"
        return Outcome(test.name, 0, message, error.advice or "correct the test", key)
    for packet in packets:
        failure = _Question(points, test, packet).failure()
        if failure is not None:
            return Outcome(test.name, len(packets), *failure)
    return Outcome(test.name, len(packets))


class _Question:
    """One packet of one test."""

    def __init__(self, points: Points, test: Expectation, packet: Packet) -> None:
        self._points, self._test, self._packet = points, test, packet
        self._profile = test.profile or points.policy.default_profile
        self._asked = points.asked(test.after, test.until)

    def failure(self) -> tuple[str, str] | None:
        """Why it is not as expected, and what to do; None when it is."""
        if self._packet.source.address == self._packet.destination.address:
            message = f"{self._said()}: both ends are the same address"
            return message, "a name of several things means the application first: write `partner:NAME` or `host:NAME`"
        way = way_of_packet(self._points.site, self._packet)
        if way is None:
            message = f"{self._said()} cannot be answered: no route of the inventory leads there"
            return message, "correct the routes, or the ends of the test"
        return self._blocked(way) if self._test.expect == "passes" else self._passing(way)

    def _blocked(self, way: Way) -> tuple[str, str] | None:
        """It has to pass: at the first point, which opens least of all that are asked."""
        point = self._asked[0]
        known = explain(self._points.site, self._points.policy, self._profile, self._packet, ())
        if known.unpublished:
            message = f"{self._said()} reaches nobody: the firewall that translates publishes no such port"
            return message, "publish it in the inventory, or name the address from inside"
        stand = self._points.at(self._profile, point)
        device = stand.containment.stops(way)
        if device is None:
            return None
        if stand.refused is not None:
            return f"{self._said()} is stopped by {device} {_when(point)}: {stand.refused.args[0]}", stand.refused.advice
        hint = "no flow of the policy holds it"
        if known.declared:
            declared = known.declared[0]
            opener = f"which {declared.stage} opens" if declared.stage else "which no stage opens to it"
            hint = f"it belongs to the flow {declared.flow}, {opener}"
            if declared.denied is not None:
                hint = f"the flow {declared.flow} denies {declared.denied}"
        message = f"{self._said()} is stopped by {device} (profile {self._profile}) {_when(point)}: {hint}"
        return message, "correct the flow or the stage that has to open it; or the test, if it asks too early"

    def _passing(self, way: Way) -> tuple[str, str] | None:
        """It has to be blocked: if the last point, which opens most, stops it, all of them do. Else the first that does not
        is the one to tell of."""
        if self._stops(self._asked[-1], way):
            return None
        point = next(point for point in self._asked if not self._stops(point, way))
        stand = self._points.at(self._profile, point)
        verdict = explain(self._points.site, self._points.policy, self._profile, self._packet, (stand,)).verdicts[0]
        why = "the layer is lifted" if verdict.lifted else _let_pass(verdict.guards, way, self._profile)
        advice = "narrow the flow, or open it in a later stage; or correct the test, if this is wanted"
        return f"{self._said()} passes {_when(point)}: {why}", advice

    def _stops(self, point: Point, way: Way) -> bool:
        return self._points.at(self._profile, point).containment.stops(way) is not None

    def _said(self) -> str:
        packet = self._packet
        return f"{packet.source.address} → {packet.destination.address} {service_text(packet.service)}"


def _let_pass(guards: tuple[Guard, ...], way: Way, profile: str) -> str:
    for guard in guards:
        if isinstance(guard.by, Source):
            return f"the flow {guard.by.flow} with {guard.by.partner}, opened by {guard.by.stage}, lets it through {guard.device}"
        if guard.does == "keeps":
            return f"{profile} keeps it on {guard.device}{f' ({guard.by})' if guard.by else ''}"
        if guard.does == "released":
            return f"{guard.device} was released{f' by {guard.by}' if guard.by else ''}, and no guard behind it stops it"
    crossed = ", ".join(dict.fromkeys(hop.device for hop in way.hops)) or "no device"
    return f"no guard of the profile {profile} concerns it on its way ({crossed})"


def _when(point: Point) -> str:
    """`right after the cut-off`, `after P1-mail`."""
    return f"after {point[-1].stage}" if point else "right after the cut-off"
