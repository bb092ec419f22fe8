"""Probes of a stage: run, judged, recorded. `inconclusive` holds; it never opens (invariant 8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.network import Site
from orchestrator.domain.probes import Check, Probe, ProbeResult, Purpose
from orchestrator.errors import DeviceRefused
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.journal import Journal

_ATTEMPTS = 4  # routes and neighbours need a moment after an interface came back
_PAUSE_S = 1.5


class CheckFailed(DeviceRefused):
    """A check did not succeed."""


@dataclass(frozen=True)
class Checks:
    collaborators: Collaborators
    journal: Journal
    stage: str

    def require(self, when: str, probes: Sequence[Probe]) -> tuple[ProbeResult, ...]:
        """Every probe is successful: positive and care probes within a few attempts, negative ones at each of them.

        Raises CheckFailed. Records one CheckRan with the last result of each probe.
        """
        results = {result.probe.id: result for result in self._run(probes)}
        for _ in range(_ATTEMPTS - 1):
            if all(result.check is Check.SUCCESSFUL for result in results.values()) or _leaks(results.values()):
                break
            self.collaborators.wait(_PAUSE_S)
            again = [result.probe for result in results.values() if result.check is not Check.SUCCESSFUL or not result.probe.expects_pass]
            results.update({result.probe.id: result for result in self._run(again)})
        final = tuple(results.values())
        self._record(when, final)
        bad = [result for result in final if result.check is not Check.SUCCESSFUL]
        if bad:
            raise CheckFailed(f"{when}: " + "; ".join(_text(result) for result in bad[:5]) + (" …" if len(bad) > 5 else ""))
        return final

    def _run(self, probes: Sequence[Probe]) -> tuple[ProbeResult, ...]:
        return self.collaborators.probes.run(probes, deadline_s=self.collaborators.probe_deadline_s) if probes else ()

    def _record(self, when: str, results: Sequence[ProbeResult]) -> None:
        body = check_ran(when, results)
        self.journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(E.CHECK_RAN, body, stage=self.stage)])


def check_ran(when: str, results: Sequence[ProbeResult]) -> dict[str, object]:
    """The body of a CheckRan: how many of each outcome, and every result."""
    counts = {check.value: sum(result.check is check for result in results) for check in Check}
    return {"when": when, **counts, "results": [_body(result) for result in results]}


def only(probes: Iterable[Probe], *purposes: Purpose) -> tuple[Probe, ...]:
    return tuple(probe for probe in probes if probe.purpose in purposes)


def verified_from(results: Iterable[ProbeResult], site: Site) -> str:
    """`both`: something outside the site was asked too; else `inside` (the partner's contact signs what they saw)."""
    external = {zone.name for zone in site.zones if zone.is_external}
    outside = {host.name for host in site.hosts if any(interface.zone in external for interface in host.interfaces)}
    return "both" if any(result.probe.vantage in outside and result.probe.expects_pass for result in results) else "inside"


def _leaks(results: Iterable[ProbeResult]) -> bool:
    """Something passes that should not: no second attempt."""
    return any(result.probe.purpose is Purpose.NEGATIVE and result.check is Check.FAILED for result in results)


def _text(result: ProbeResult) -> str:
    probe = result.probe
    wanted = "should pass" if probe.expects_pass else "should not pass"
    port = f" {probe.kind}/{probe.port}" if probe.port else f" {probe.kind}"
    return f"{probe.vantage} → {probe.destination}{port} {wanted}: {result.check} ({result.detail or 'no detail'})"


def _body(result: ProbeResult) -> dict[str, object]:
    probe = result.probe
    return {
        "id": probe.id,
        "purpose": probe.purpose.value,
        "about": probe.about,
        "vantage": probe.vantage,
        "destination": str(probe.destination),
        "kind": probe.kind,
        "port": probe.port,
        "check": result.check.value,
        "took_ms": round(result.milliseconds),
        "detail": result.detail[:200],
    }
