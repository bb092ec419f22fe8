"""Deaths on the rehearsal hospital: the server, or the emergency command, is killed while it talks to real devices.

1 the points of each operation are written down by one that is not killed
2 before each death the hospital stands as the operation needs it: the stage closed and voted on, or open
3 at the death, before anybody does anything: every device is read back, and the streams are asked
4 for some, nobody does anything until the confirm window is over
5 a new server starts; when nothing runs any more, all of it is asked again: no vote, no packet, no opening
6 what was acknowledged is in the log, every intent has an outcome; another restart writes nothing
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import httpx

from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.domain.layer import Observed
from orchestrator.domain.merkle import root
from orchestrator.domain.stages import LETS_THROUGH, RUNNING, StageState
from orchestrator.errors import LogBroken
from tests.crash.approved import Approved, Cover, box
from tests.crash.killed_process import AFTER, AMIDST, BEFORE
from tests.crash.one_death import AT_A_RESTART, Verdict, without_outcome
from tests.crash.real_site import ENDS_WITHIN_S, STAGE, NotInTime, RealSite, Traffic, await_
from tests.lab.cut_hospital import ROOT

PARTNER = "efs"  # of the stage: the blood supply
CONFIRM_WINDOW_S = 60.0  # the rehearsal overlay's
QUIET_S = 3.0  # without a new event: the chores of a server that has just started are done
FORMS = {"log": (BEFORE, AFTER), "device": (BEFORE, AMIDST, AFTER)}
SINCE = {"apply": "log StageApplying", "revert": "log StageReverting", "re-isolate": "log ReisolationOrdered", "cut off": ""}


@dataclass(frozen=True)
class Death:
    operation: str
    name: str
    nth: int
    form: str

    def __str__(self) -> str:
        return f"{self.form} {self.name} (time {self.nth})"


class RealDeaths:
    """On one hospital, one death after the other."""

    def __init__(self, site: RealSite, tell: Callable[[str], None]) -> None:
        self.site, self.tell = site, tell
        self.traffic = Traffic(site)
        self._trace = site.directory / "trace"

    # 1

    def deaths(self) -> list[Death]:
        """Every point of every operation, in each of its forms."""
        found: list[Death] = []
        for operation, reached in self._traced():
            found += [Death(operation, name, nth, form) for name, nth in reached for form in FORMS[name.split()[0]]]
        return found

    def _traced(self) -> Iterator[tuple[str, list[tuple[str, int]]]]:
        for operation in ("apply", "revert", "re-isolate", "cut off"):
            self._stand(operation)
            self._trace.unlink(missing_ok=True)
            self._do(operation, self._spec(operation), lambda _process: self.site.settled())
            lines = [line.split("\t") for line in self._lines()]
            yield operation, [(line[0], int(line[1])) for line in lines if line[0].split()[0] in FORMS]

    def _do(self, operation: str, spec: dict[str, object], then: Callable[[subprocess.Popen[bytes]], object]) -> None:
        """In a process that counts; `then` is what is waited for."""
        if operation == "cut off":
            self._cut(spec)
            return
        site = self.site
        with site.serving(crash=spec) as process:
            if operation == "apply":
                site.approve()
            self._quiet()
            with suppress(httpx.TransportError):  # it may die while it is asked
                {"apply": site.apply, "revert": site.revert, "re-isolate": self._reisolate}[operation]()
            then(process)
            if process.poll() is None:
                self._quiet()

    # 2

    def die(self, death: Death, *, waits: bool = False) -> Verdict:
        verdict = Verdict(f"real: {death.operation}", str(death))
        try:
            self._stand(death.operation)
            self._trace.unlink(missing_ok=True)
            self._kill(death)
            if not any(line.startswith("killed") for line in self._lines()):
                verdict.wrong.append("the point was not reached")
            self._look(verdict, "when it was dead")  # 3
            if waits:
                time.sleep(CONFIRM_WINDOW_S + 5)  # 4
                self._look(verdict, "when the confirm window was over", lasting_only=True)
            with self.site.serving():  # 5
                self._settle(verdict)
                if death.operation == "cut off":
                    self._cut(None)
                    self._settle(verdict)
                self._look(verdict, "after the restart", settled=True)
            self._nothing_lost(verdict)  # 6
            self._again(verdict)
        except (NotInTime, AssertionError, httpx.TransportError, LogBroken) as failure:
            verdict.wrong.append(f"{type(failure).__name__}: {str(failure)[:500]}")
        return verdict

    def _stand(self, operation: str) -> None:
        """The stage closed, or open, as the operation needs it; nothing runs."""
        now = self.site.stages().get(STAGE)
        is_open, wanted = now in LETS_THROUGH, operation != "apply"
        if is_open == wanted and now is not StageState.PARTIALLY_OPEN:  # what is re-isolated must be open
            return
        with self.site.serving():
            if is_open:
                self.site.revert()
                assert self.site.settled()[STAGE] is StageState.REVERTED, self.site.last_words()
            if wanted:
                self.site.open()

    def _kill(self, death: Death) -> None:
        spec = {**self._spec(death.operation), "name": death.name, "nth": death.nth, "form": death.form}
        self._do(death.operation, spec, lambda process: await_(lambda: process.poll() is not None, ENDS_WITHIN_S, "the server dies"))

    def _spec(self, operation: str) -> dict[str, object]:
        return {"trace": str(self._trace), "since": SINCE[operation]}

    def _reisolate(self) -> None:
        self.site.ask("rssi", "POST", "/v1/reisolations", {"what": "partner", "name": PARTNER, "reason": "an indicator"})

    def _cut(self, spec: dict[str, object] | None) -> None:
        site = self.site
        module = "orchestrator" if spec is None else "tests.crash.killed_process"
        environment = site.environment(**({"ORCHESTRATOR_CRASH": json.dumps(spec)} if spec is not None else {}))
        words = ["cutoff", "--json", "--profile", "total", "--by", "eng-1", "--reason", "test", "--pack", str(site.case.brief)]
        done = subprocess.run(
            site.command(*words, module=module), cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=ENDS_WITHIN_S, check=False,
        )  # fmt: skip
        assert done.returncode in (0, -signal.SIGKILL), f"{done.returncode}: {done.stderr[-2000:]}"

    # 3 5

    def _approved(self) -> Approved:
        approved = Approved()
        approved.take_all(self.site.facts())
        return approved

    def _look(self, verdict: Verdict, when: str, *, lasting_only: bool = False, settled: bool = False) -> None:
        """On live packets and by read-back."""
        approved = self._approved()
        verdict.wrong += approved.faults
        for name, seen in self.site.observed().items():
            verdict.left_open += [f"{when}: {name}: {text}" for text in self._more(name, seen, approved.on(name))]
            if lasting_only and seen.temporary:
                verdict.left_open.append(f"{when}: {name} still holds {len(seen.temporary)} openings that should have closed by themselves")
        for leak in self.traffic.leaks():
            verdict.left_open.append(f"{when}: {leak.received} packets of {leak.name} have arrived, which no vote covers")
        if settled and not approved.covered_stages() and self.traffic.flows():
            verdict.left_open.append(f"{when}: the stage's flow arrives, and the stage is closed")
        if settled and not approved.covered_stages():
            verdict.left_open += self._arrived_too_late(when)

    def _more(self, name: str, seen: Observed, covers: Sequence[Cover]) -> list[str]:
        """What a device lets through beyond the layer as it was laid and what is approved."""
        boxes = {one for cover in covers for one in cover.boxes}
        guards = {one for cover in covers for one in cover.guards}
        first = self.site.after_the_cut[name]
        opened = {box(element) for element in (*seen.opened, *(element for element, _ in seen.temporary))}
        return [
            *(f"{one} is open, which nothing approves" for one in opened - boxes),
            *(f"{one} is released, which nothing approves" for one in set(first.closed) - set(seen.closed) - guards),
            *(f"the layer {slot} is gone" for slot in set(first.slots) - set(seen.slots)),
            *(["its layer is off"] if seen.loosened_s is not None or not seen.present else []),
        ]

    def _arrived_too_late(self, when: str) -> list[str]:
        """A packet of the stage's flow after its firewall was read back closed, or cut off."""
        closed = [
            fact for fact in self.site.facts()
            if fact.device == "fw-ext" and (
                (fact.type == "DeviceReadBack" and fact.body["settles"] in ("close", "narrow") and fact.body["as_expected"])
                or (fact.type == "CutoffApplied" and fact.body["laid"])
            )
        ]  # fmt: skip
        last = self.traffic.last_arrival()
        if last is None or not closed or last <= datetime.fromisoformat(closed[-1].at):
            return []
        return [f"{when}: a packet of the stage's flow arrived at {last}, and it was closed at {closed[-1].at}"]

    def _settle(self, verdict: Verdict) -> None:
        self.site.settled()
        self._quiet()
        verdict.wrong += [f"{stage} is still {state}" for stage, state in self.site.stages().items() if state in RUNNING]

    def _quiet(self) -> None:
        """Until nothing has been written for a while."""
        size, since = -1, time.monotonic()
        end = since + ENDS_WITHIN_S
        while time.monotonic() < min(end, since + QUIET_S):
            now = len(self.site.facts())
            if now != size:
                size, since = now, time.monotonic()
            time.sleep(0.2)

    # 6

    def _lines(self) -> list[str]:
        return self._trace.read_text(encoding="utf-8").splitlines() if self._trace.exists() else []

    def _nothing_lost(self, verdict: Verdict) -> None:
        with SqliteLog(self.site.state.log, head_file=self.site.state.log_head) as log:
            hashes = [bytes.fromhex(event.hash) for event in log.read()]
        for line in self._lines():
            if line.startswith("acknowledged"):
                _, size, acknowledged = line.split("\t")
                if len(hashes) < int(size) or root(hashes[: int(size)]).hex() != acknowledged:
                    verdict.lost.append(f"the log of {size} events that was acknowledged is not a beginning of this one")
        verdict.lost += [f"event {fact.seq}: nobody said what became of it" for fact in without_outcome(self.site.facts())]

    def _again(self, verdict: Verdict) -> None:
        before = len(self.site.facts())
        with self.site.serving():
            self._quiet()
        new = [fact.type for fact in self.site.facts(before) if fact.type not in AT_A_RESTART]
        if new:
            verdict.wrong.append(f"a second restart wrote {new}")

    def stop(self) -> None:
        self.traffic.stop()


def chosen(deaths: Sequence[Death], count: int, seed: int = 4) -> list[Death]:
    """So many of them, always the same: each operation in turn, so that none is left out."""
    by_operation: dict[str, list[Death]] = {}
    for death in deaths:
        by_operation.setdefault(death.operation, []).append(death)
    pick = random.Random(seed)
    for own in by_operation.values():
        pick.shuffle(own)
    # Laying and confirming is where something is open and not yet lasting: two of three are of it.
    order = ["apply", "apply", "cut off", "apply", "revert", "apply", "re-isolate", "apply"]
    found: list[Death] = []
    while len(found) < count and any(by_operation.values()):
        for operation in order:
            if by_operation.get(operation) and len(found) < count:
                found.append(by_operation[operation].pop())
    return sorted(found, key=lambda death: (death.operation, death.name, death.nth, death.form))
