"""`orchestrator probe`: asks the probes of the cut pack from the vantage points. In peacetime, `--save-baseline` keeps the
answers: after a cut-off, a blocked probe proves something only if the same probe passed before."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.adapters.cutoff_files import CutoffFiles
from orchestrator.cli.exit_codes import OK, PARTIAL
from orchestrator.domain.probes import ProbeResult
from orchestrator.service.cutoff_pack import chosen_profile, load_pack
from orchestrator.service.cutoff_probes import DEADLINE_S, baseline_of, probes_of
from orchestrator.service.cutoff_report import ALIKE_SHOWN
from orchestrator.settings import StateDirectory, state_directory
from orchestrator.wiring_cutoff import emergency_surroundings

_WORDS = {True: "passes", False: "blocked", None: "cannot be told"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("probe", help="probe from the vantage points", description=__doc__)
    parser.add_argument("--profile", metavar="NAME", help="only the probes of this profile (default: of all of them)")
    parser.add_argument("--save-baseline", action="store_true", help="keep the answers for the next cut-off to compare with")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--state", default=argparse.SUPPRESS, metavar="DIR", help="state directory")
    parser.add_argument("--pack", type=Path, metavar="FILE", help="use this cut pack first")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when every probe has an answer, 2 when something cannot be told."""
    state = StateDirectory(Path(arguments.state)) if getattr(arguments, "state", None) else state_directory()
    around = emergency_surroundings(state, elapsed=time.monotonic, pack=arguments.pack)
    pack = load_pack(around.candidates, verify=around.verify, render=around.render, profile=arguments.profile)
    for warning in pack.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    profiles = [chosen_profile(pack.body, arguments.profile)] if arguments.profile else None
    results = around.probes(pack.body).run(probes_of(pack.body, profiles), deadline_s=DEADLINE_S)
    saved = ""
    if arguments.save_baseline:
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        saved = str(CutoffFiles(state.root).save_baseline(baseline_of(results, at)))
    _show(results, saved, as_json=arguments.json)
    return PARTIAL if any(result.passed is None for result in results) else OK


def _show(results: tuple[ProbeResult, ...], saved: str, *, as_json: bool) -> None:
    if as_json:
        listed = [{"id": r.probe.id, "purpose": r.probe.purpose.value, "passed": r.passed, "detail": r.detail} for r in results]
        print(json.dumps({"verb": "probe", "probes": listed, "baseline": saved}, ensure_ascii=False))
        return
    untold = Counter(result.detail for result in results if result.passed is None)
    for result in results:
        probe = result.probe
        if result.passed is None and untold[result.detail] > ALIKE_SHOWN:
            continue  # one cause, told once below
        question = f"{probe.vantage} → {probe.kind} {probe.destination}{f' {probe.port}' if probe.port else ''}"
        print(f"{_WORDS[result.passed]:<14} {probe.purpose.value:<8} {question}  {result.detail}")
    for detail, count in untold.items():
        if count > ALIKE_SHOWN:
            print(f"{_WORDS[None]:<14} {count} probes: {detail}")
    passing, blocked = (sum(result.passed is answer for result in results) for answer in (True, False))
    print(f"{len(results)} probes: {passing} pass, {blocked} are blocked")
    if saved:
        print(f"baseline saved in {saved}")
