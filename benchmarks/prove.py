"""`make prove`: the full numbers of every issue, each written to benchmarks/results/ with the commit that was measured.

Every job is a command whose last line is one JSON object. A job that fails is written down as failed, the others go
on, and the exit code says so at the end.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
JOBS: dict[str, list[str]] = {
    "demo": ["-m", "orchestrator", "demo"],
    "bench-cutoff": ["-m", "benchmarks.cutoff"],
    "bench-policy": ["-m", "benchmarks.policy"],
    "policy-mutation": ["-m", "tests.unit.test_policy_mutation"],
    "live-matrix": ["-m", "benchmarks.live_matrix"],
    "crash": ["-m", "benchmarks.crash"],
    "races": ["-m", "benchmarks.races"],
    "soak": ["-m", "benchmarks.soak"],
}


def main(chosen: list[str]) -> int:
    RESULTS.mkdir(exist_ok=True)
    failed = [name for name in chosen or JOBS if not prove(name)]
    print(f"failed: {', '.join(failed)}" if failed else "all proved")
    return 1 if failed else 0


def prove(name: str) -> bool:
    """Runs one job, shows what it prints, writes its result down. True when it succeeded."""
    print(f"── {name}", flush=True)
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, *JOBS[name]], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        print(f"   {line}", end="", flush=True)
        last = line if line.strip() else last
    code = process.wait()
    try:
        result = json.loads(last)
    except ValueError:
        result = None
    record = {
        "job": name,
        "commit": commit(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
        "seconds": round(time.monotonic() - started, 1),
        "exit_code": code,
        "result": result,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return code == 0 and result is not None


def commit() -> str:
    """The commit measured, with a `+` when the tree holds changes besides it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changed = [line for line in git("status", "--porcelain").splitlines() if "benchmarks/results/" not in line]
    return git("rev-parse", "HEAD") + ("+" if changed else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
