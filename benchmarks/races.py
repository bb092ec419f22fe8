"""`make races`: votes, stages, cut-offs, re-isolations, blocks, resumptions, windows, faults, restarts and takeovers at random.

    python -m benchmarks.races [--runs N] [--steps N] [--seed N]

1,000 runs of 50 steps, on as many processes as there are cores, each with a seed of its own; what they do and what is judged
after each step is in tests/crash/race_machine.py. The last line is `{"races": N, "steps": N, "failures": 0, …}`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
import traceback
from typing import ClassVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import initialize, invariant, run_state_machine_as_test

from tests.crash.race_machine import Races

RUNS, STEPS, SEED = 1000, 50, 4
AT_A_TIME = 25


class _Counted(Races):
    """Counts what was begun: a run may end before its last step."""

    runs: ClassVar[int] = 0
    steps: ClassVar[int] = 0

    @initialize()
    def count(self) -> None:
        type(self).runs += 1

    @invariant()
    def counts(self) -> None:
        type(self).steps += 1


def portion(task: tuple[int, int, int]) -> tuple[int, int, str]:
    """So many runs with this seed: runs, steps, and what failed (empty: nothing)."""
    number, runs, steps = task

    class Machine(_Counted):
        runs = 0
        steps = 0

    seed(number)(Machine)
    failed = ""
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=runs, stateful_step_count=steps, deadline=None, database=None, suppress_health_check=list(HealthCheck),
                phases=(Phase.generate,), print_blob=False,
            ),
            _min_steps=steps,  # or Hypothesis ends many runs after a few
        )  # fmt: skip
    except Exception:
        failed = traceback.format_exc()
    return Machine.runs, Machine.steps, failed


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=SEED, help="of the first portion; each has the next one")
    args = parser.parse_args(arguments)
    started = time.monotonic()
    tasks = [(args.seed + number, min(AT_A_TIME, args.runs - at), args.steps) for number, at in enumerate(range(0, args.runs, AT_A_TIME))]
    done = steps = 0
    failures: list[str] = []
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for runs, made, failed in pool.imap_unordered(portion, tasks):
            done, steps = done + runs, steps + made
            if failed:
                failures.append(failed)
                print(failed, flush=True)
            print(f"{done} runs, {steps} steps, {len(failures)} failures, {time.monotonic() - started:.0f} s", flush=True)
    seconds = round(time.monotonic() - started)
    print(json.dumps({"races": done, "steps": steps, "failures": len(failures), "first_seed": args.seed, "seconds": seconds}))
    return 0 if not failures and done >= args.runs else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
