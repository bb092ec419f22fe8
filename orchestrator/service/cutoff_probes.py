"""Steps 8 and 9 of the cut-off: probes from the vantage points, against the baseline that was saved before.

A blocked negative probe proves something only if the very same probe passed before the cut; one that passes now is a
leak whatever the baseline says. A care assertion that failed before already is a warning, not this cut-off's doing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.domain.probes import Check, Probe, ProbeResult, Purpose
from orchestrator.service.cutoff_report import ProbeReport

if TYPE_CHECKING:
    from orchestrator.ports import Probes

DEADLINE_S = 10.0
NO_BASELINE = "no baseline was saved before the cut: a blocked probe proves little (orchestrator probe --save-baseline)"


def key(probe: Probe) -> str:
    """What makes two probes the same one, whatever they are called."""
    return "|".join(str(part) for part in (probe.vantage, probe.kind, probe.destination, probe.port, probe.path, probe.source))


def probes_of(body: Mapping[str, Any], profiles: Iterable[str] | None = None) -> tuple[Probe, ...]:
    """The probes of these profiles (all of them by default), each question once."""
    chosen: dict[tuple[str, str], Probe] = {}
    for profile in profiles if profiles is not None else body["profiles"]:
        for item in body["profiles"][profile]["probes"]:
            probe = Probe.model_validate(item)
            chosen.setdefault((probe.purpose.value, key(probe)), probe)
    return tuple(chosen.values())


def baseline_of(results: Sequence[ProbeResult], saved_at: str) -> dict[str, Any]:
    """What `orchestrator probe --save-baseline` writes."""
    return {"saved_at": saved_at, "passed": {key(result.probe): result.passed for result in results}}


def ask(probes: Probes, questions: Sequence[Probe], baseline: Mapping[str, Any] | None) -> tuple[ProbeReport, tuple[str, ...]]:
    """Runs the probes, those without a clear or good answer twice. Returns the report, and warnings."""
    results = list(probes.run(questions, deadline_s=DEADLINE_S))
    again = [index for index, result in enumerate(results) if _worth_a_second_try(result)]
    if again:
        second = probes.run([questions[index] for index in again], deadline_s=DEADLINE_S)
        for index, result in zip(again, second, strict=True):
            results[index] = result
    return judged(results, baseline)


def _worth_a_second_try(result: ProbeResult) -> bool:
    """A packet lost is no care lost; but a negative probe that got through once has got through."""
    return result.check is Check.INCONCLUSIVE or (result.check is Check.FAILED and result.probe.purpose is not Purpose.NEGATIVE)


def judged(results: Sequence[ProbeResult], baseline: Mapping[str, Any] | None) -> tuple[ProbeReport, tuple[str, ...]]:
    before: Mapping[str, bool | None] = baseline["passed"] if baseline else {}
    report = ProbeReport(total=len(results), baseline=str(baseline["saved_at"]) if baseline else "")
    warnings = (
        [] if baseline else ["no baseline was saved before the cut: a blocked probe proves little (orchestrator probe --save-baseline)"]
    )
    for result in results:
        probe, earlier = result.probe, before.get(key(result.probe))
        name = f"{probe.about or probe.id} ({probe.vantage} → {probe.destination}{f' port {probe.port}' if probe.port else ''})"
        report.results.append(
            {"id": probe.id, "purpose": probe.purpose.value, "passed": result.passed, "check": result.check.value, "before": earlier,
             "ms": round(result.milliseconds), "detail": result.detail}
        )  # fmt: skip
        if probe.purpose is Purpose.NEGATIVE:
            report.negative += 1
            report.blocked += result.passed is False
            report.counted += result.passed is False and earlier is True
        if result.check is Check.SUCCESSFUL:
            continue
        if probe.purpose is Purpose.NEGATIVE and result.passed:
            report.leaking.append(f"{name}{f', exit {probe.exit}' if probe.exit else ''}")
        elif probe.purpose is not Purpose.NEGATIVE and earlier is False:
            warnings.append(f"it did not work before the cut either: {name}")
        elif result.check is Check.INCONCLUSIVE and probe.purpose is not Purpose.POSITIVE:
            report.inconclusive.append(f"{name}: {result.detail}")
        elif probe.purpose is Purpose.CARE:
            report.care_failed.append(f"{name}: {result.detail}")
        else:
            report.kept_failed.append(f"{name}: {result.detail}")
    if report.kept_failed:
        others = f", and {len(report.kept_failed) - 1} more" if len(report.kept_failed) > 1 else ""
        warnings.append(f"a kept flow does not work: {report.kept_failed[0]}{others}")
    return report, tuple(warnings)
