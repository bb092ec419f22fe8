"""Probes over SSH: one session per vantage point, all its questions asked there at once by `probe_program`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.adapters.device_words import told
from orchestrator.dialects.base import Script
from orchestrator.domain.probes import Probe, ProbeResult
from orchestrator.errors import EnvironmentMissing
from orchestrator.ports import Credential, DeviceStep, Outcome, Target

if TYPE_CHECKING:
    from orchestrator.ports import Devices

PROGRAM = Path(__file__).with_name("probe_program.py")
NOT_ASKED = "the vantage point cannot be reached"


class SshProbes:
    """Implements `ports.Probes` on sessions with its own key: `sessions` is a Devices whose `cut` key is the probe key.
    `authorities` (PEM) is read at each run: whom TLS probes believe that name nobody themselves."""

    def __init__(self, sessions: Devices, vantage_points: Mapping[str, Target], *, authorities: Path | None = None) -> None:
        self._sessions = sessions
        self._authorities = authorities
        self._targets = {name: replace(target, device=name) for name, target in vantage_points.items()}

    def run(self, probes: Sequence[Probe], *, deadline_s: float) -> tuple[ProbeResult, ...]:
        asked: dict[str, list[int]] = {}
        results = [ProbeResult(probe=probe, passed=None, milliseconds=0.0, detail=NOT_ASKED) for probe in probes]
        for index, probe in enumerate(probes):
            asked.setdefault(probe.vantage, []).append(index)
        trusted = _trusted(self._authorities)
        scripts = {
            self._targets[vantage]: (_program([probes[index] for index in indexes], trusted),)
            for vantage, indexes in asked.items()
            if vantage in self._targets
        }
        try:
            for outcomes in self._sessions.run(scripts, credential=Credential.CUT, deadline_s=deadline_s, verb="probe"):
                for index, result in _answers(outcomes[-1], probes, asked[outcomes[-1].device]):
                    results[index] = result
        except EnvironmentMissing as missing:  # no key: nothing was asked
            detail = str(missing.args[0])
            results = [ProbeResult(probe=result.probe, passed=None, milliseconds=0.0, detail=detail) for result in results]
        return tuple(results)


def _trusted(authorities: Path | None) -> str:
    """Empty when there is no file: then the vantage point's own authorities decide. What cannot be read is given as it is not
    to be believed: every TLS probe then says that the authority's certificate cannot be read."""
    if authorities is None or not authorities.exists():
        return ""
    try:
        return authorities.read_text(encoding="ascii") or "empty"
    except (OSError, UnicodeDecodeError):
        return "unreadable"


def _program(questions: Sequence[Probe], trusted: str) -> Script:
    """The whole program and its questions as the standard input of `python3 -`: nothing is installed on the host."""
    fields = {"kind", "destination", "port", "path", "source", "timeout_s", "status", "name", "ca", "dns", "record"}
    believed = [probe.model_copy(update={"ca": trusted}) if probe.kind == "tls" and not probe.ca else probe for probe in questions]
    listed = json.dumps([{**probe.model_dump(mode="json", include=fields), "negative": not probe.expects_pass} for probe in believed])
    return Script("python3 -I -S -", f"{PROGRAM.read_text(encoding='utf-8')}\nmain(json.loads({listed!r}))\n")


def _answer(line: str) -> dict[str, Any] | None:
    """One answer of the program, which may come from a host that is no longer ours: only what has its form is taken."""
    try:
        answer = json.loads(line)
        passed, took = answer["passed"], float(answer["ms"])
        if passed not in (True, False, None) or isinstance(passed, (int, float)) is not isinstance(passed, bool):
            return None
        return {"n": int(answer["n"]), "passed": passed, "ms": took, "detail": told(str(answer["detail"]))}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _answers(outcome: Outcome, probes: Sequence[Probe], indexes: Sequence[int]) -> list[tuple[int, ProbeResult]]:
    """The answers that arrived, and for the questions without one, why. An answer is believed even if the session died later."""
    missing = NOT_ASKED if outcome.step is DeviceStep.APPLIED and not outcome.output else outcome.detail or "no answer from the program"
    found: dict[int, dict[str, Any]] = {}
    for line in outcome.output.splitlines():
        answer = _answer(line)
        if answer is not None:  # else it is what a login shell prints
            found[answer["n"]] = answer
    results = []
    for number, index in enumerate(indexes):
        answer = found.get(number, {"passed": None, "ms": 0.0, "detail": missing})
        results.append(
            (index, ProbeResult(probe=probes[index], passed=answer["passed"], milliseconds=answer["ms"], detail=answer["detail"]))
        )
    return results
