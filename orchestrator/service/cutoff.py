"""The cut-off: one person, one command, nothing else that works.

 1  read the cut pack; broken, missing or badly signed → the previous good one → the files on disk, each with a warning
 2  choose the profile; an unknown one is the only thing that is refused
 3  raise the epoch
 4  write the intent to the log, in a thread: after 0.3 s it goes to the spool, and the cut never waits for it
 5  lay the layer, far waves before near ones; a wave waits at most 2 s for its dead; read back in the same session
    what a device did not take is closed at the guards that the pack names instead, in the same way
    (then, beside 8 and 9: the block list of the log, which no pack can know, on every device that holds the layer now)
 6  list the sessions (5 s a device), record and hash them, kill those outside the permitted set, count again
 7  make the layer what the device boots with; read back again; compare with what was expected
 8  probe from the vantage points, care assertions included, against the baseline
 9  probe again after the declared failover time: verified at t, confirmed at t + x
10  write the outcomes (spooled if the log fails), and the verdict

Only the standard library is imported until the layer lies (steps 1 to 5): pydantic and the dialects cost 0.2 s.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.ports import DeviceStep, Outcome
from orchestrator.service.cutoff_lay import Laying
from orchestrator.service.cutoff_pack import Cut, LoadedPack, chosen_profile, cuts_of, load_pack
from orchestrator.service.cutoff_report import DeviceReport, Verdict
from orchestrator.service.cutoff_surroundings import Files, Order, Surroundings

if TYPE_CHECKING:
    from orchestrator.domain.probes import Probe
    from orchestrator.service.cutoff_instead import Instead
    from orchestrator.service.cutoff_sessions import Sessions

MERGE_WAITS_S = 5.0
LAST_EPOCH = 2**31 - 1  # generations on devices are 32-bit integers

__all__ = ["Cutoff", "Files", "Order", "Surroundings"]


class Cutoff:
    """One run. `tell` gets every line of progress as it happens, one at a time, from any thread."""

    def __init__(self, order: Order, around: Surroundings, tell: Callable[[str], None]) -> None:
        self._order, self._around, self._tell = order, around, tell
        self._lock = threading.Lock()
        self._all_laid = threading.Event()
        self._followers: list[threading.Thread] = []
        self._questions: tuple[Probe, ...] = ()
        self._baseline: Mapping[str, Any] | None = None
        self._instead: Instead | None = None

    def run(self) -> Verdict:
        """Raises InputError when there is nothing at all to cut with, UnknownName for an unknown profile; nothing else."""
        around = self._around
        warmed = _in_background(around.devices)  # the session library loads while the pack is read
        self._pack = load_pack(around.candidates, verify=around.verify, render=around.render, profile=self._order.profile)  # 1
        profile = chosen_profile(self._pack.body, self._order.profile)  # 2
        self._epoch, warnings = self._raise_epoch()  # 3
        self._cuts = cuts_of(self._pack.body, profile, self._epoch)
        self._verdict = self._new_verdict(self._pack, profile, warnings)
        warmed.join()
        self._intend()  # 4
        self._lay()  # 5, then 6 and 7 for each device
        known = threading.Event()
        blocking = _in_background(lambda: self._block(known))
        self._probe()  # 8
        self._confirm()  # 9
        self._await_blocks(known, blocking)
        self._conclude()  # 10
        return self._verdict

    # 1 to 4: before the first command

    def _raise_epoch(self) -> tuple[int, list[str]]:
        """Unix seconds, or one more than the last epoch known: monotone even if the clock went back."""
        clock = min(int(self._around.now().timestamp()), LAST_EPOCH)
        try:
            return min(self._around.files.raise_epoch(clock), LAST_EPOCH), []
        except OSError as failure:
            return clock, [f"the last epoch cannot be read ({failure}): the clock alone gives it"]

    def _new_verdict(self, pack: LoadedPack, profile: str, warnings: list[str]) -> Verdict:
        body = pack.body
        facts = {key: body.get(key) for key in ("made_at", "ratified", "policy_digest", "inventory_digest")}
        verdict = Verdict(
            self._epoch, str(body["site"]), profile, self._order.reason, self._order.by, {"source": pack.source, **facts},
            rehearsal=bool(body.get("rehearsal")), warnings=[*warnings, *pack.warnings],
            manual=list(body["profiles"][profile].get("manual", ())),
        )  # fmt: skip
        verdict.devices = {cut.device: DeviceReport(cut.device, cut.guards) for cut in self._cuts}
        return verdict

    def _intend(self) -> None:
        from orchestrator.service.cutoff_events import Events
        from orchestrator.service.cutoff_record import Recorder

        self._recorder = Recorder(self._around.log, self._around.spool)
        self._events = Events(self._epoch, self._around.now, rehearsal=self._verdict.rehearsal)
        self._recorder.record(self._events.ordered(self._verdict, [cut.device for cut in self._cuts]), within_s=self._around.intent_waits_s)

    # 5: the layer

    def _lay(self) -> None:
        verdict, around = self._verdict, self._around
        self._say(f"cutting {verdict.site} off: profile {verdict.profile}, {len(self._cuts)} devices, epoch {self._epoch}")
        laying = Laying(around.devices, self._cuts, self._answered, wave_waits_s=around.wave_waits_s, deadline_s=around.lay_deadline_s)
        laying.run()
        verdict.laid_s = around.elapsed()
        self._progress()
        self._all_laid.set()
        laying.wait()
        self._lay_instead(settled=False)  # of devices that did not take the layer
        self._await_followers()
        self._lay_instead(settled=True)  # of devices that took it and cannot be relied on

    def _lay_instead(self, *, settled: bool) -> None:
        """Closes what the pack says, until every device has answered or nothing is left to close."""
        from orchestrator.service.cutoff_instead import Instead

        verdict, around = self._verdict, self._around
        try:
            self._instead = self._instead or Instead(self._pack.body, verdict.profile, self._epoch)
            while cuts := self._instead.next(verdict.devices.values(), settled=settled):
                with self._lock:  # the progress is being written by others
                    verdict.devices |= {cut.key: DeviceReport(cut.device, cut.guards, further=True) for cut in cuts}
                self._say(f"closing {', '.join(cut.key for cut in cuts)} instead")
                further = Laying(around.devices, cuts, self._answered, wave_waits_s=around.wave_waits_s, deadline_s=around.lay_deadline_s)
                further.run()
                further.wait()
                if settled:
                    self._await_followers()
            verdict.standing = self._instead.standing(verdict.devices.values()) if settled else None
            verdict.manual += [step for step in (verdict.standing.by_hand if verdict.standing else ()) if step not in verdict.manual]
        except Exception as failure:  # what is cut stays cut, whatever a pack says of the rest
            self._warn(f"what to close instead could not be read from the pack: {failure}")

    def _await_followers(self) -> None:
        for follower in list(self._followers):
            follower.join()

    def _answered(self, cut: Cut, outcomes: tuple[Outcome, ...]) -> None:
        """One device has answered the laying; its next steps wait until every wave has had its turn."""
        with self._lock:
            report = self._verdict.devices[cut.key]
            report.seconds = self._around.elapsed()
            report.laid = outcomes[0].step is DeviceStep.APPLIED
            report.step, report.detail = outcomes[0].step, outcomes[0].detail
            if report.laid:
                report.step, report.detail = DeviceStep.UNKNOWN, "laid, not yet read back"
        if report.laid:
            self._say(f"{cut.device:<12} laid     {report.seconds:6.2f} s — {', '.join(cut.guards)}")
        self._followers.append(_in_background(lambda: self._follow(cut, outcomes, report)))

    # 6 and 7, each device in a thread of its own

    def _follow(self, cut: Cut, outcomes: tuple[Outcome, ...], report: DeviceReport) -> None:
        self._all_laid.wait()
        slots: Mapping[str, str] = {}
        try:
            if report.laid:
                slots = self._settle(cut, outcomes[1] if len(outcomes) > 1 else None, report)
        except Exception as failure:  # what one device answered must not hide the others
            report.step, report.detail = DeviceStep.UNKNOWN, f"laid; not read back: {failure}"
        self._say(report.line)
        self._recorder.record(self._events.applied(cut, report, slots))
        self._progress()

    def _settle(self, cut: Cut, first_read: Outcome | None, report: DeviceReport) -> Mapping[str, str]:
        from orchestrator.service.cutoff_device import FollowUp

        around = self._around
        follow_up = FollowUp(
            cut, report, self._epoch, self._pack.body, around.devices(), around.dialect(cut.target.platform),
            keep=lambda listing, sessions: self._keep_sessions(cut, listing, sessions, report), warn=self._warn,
        )  # fmt: skip
        return follow_up.run(first_read)

    def _keep_sessions(self, cut: Cut, listing: str, sessions: Sessions, report: DeviceReport) -> None:
        report.sessions_sha256 = hashlib.sha256(listing.encode()).hexdigest()
        try:
            file = self._around.files.save_sessions(self._epoch, cut.device, listing)
        except OSError as failure:
            file = ""
            self._warn(f"the sessions of {cut.device} could not be kept ({failure}): only their hash and number are")
        self._recorder.record(self._events.sessions(cut, sessions, report.sessions_sha256, file))

    # the block list, beside 8 and 9

    def _block(self, known: threading.Event) -> None:
        from orchestrator.service.cutoff_blocks import lay_blocks

        around, laid = self._around, {report.device for report in self._verdict.devices.values() if report.laid}
        try:
            networks = around.blocklist()
        except Exception as failure:  # a log in any state must not stop a cut-off
            self._warn(f"the block list could not be read from the log ({failure}): what was blocked is owed; orchestrator block list")
            return
        finally:
            known.set()
        cuts = [cut for cut in self._cuts if networks and cut.device in laid]
        for cut, body, missing in lay_blocks(networks, cuts, around.devices(), around.dialect) if cuts else ():
            self._recorder.record(self._events.blocked(cut.device, body))
            if missing:
                self._warn(f"{cut.device}: the block list of the log is not on it: {missing[:300]}; orchestrator block list")

    def _await_blocks(self, known: threading.Event, blocking: threading.Thread) -> None:
        from orchestrator.service.cutoff_blocks import READING_WAITS_S, VERDICT_WAITS_S

        blocking.join(VERDICT_WAITS_S if known.wait(READING_WAITS_S) else 0)
        if blocking.is_alive():
            self._warn("the block list is not laid yet where the layer lies: orchestrator block list")

    # 8 and 9: probes

    def _probe(self) -> None:
        from orchestrator.service.cutoff_probes import ask, probes_of

        self._questions = probes_of(self._pack.body, [self._verdict.profile])
        try:
            self._baseline = self._around.files.baseline()
        except (OSError, ValueError) as failure:
            self._warn(f"the baseline cannot be read: {failure}")
        if not self._questions:
            return
        self._say(f"probing: {len(self._questions)} probes from the vantage points")
        try:
            self._verdict.probes, warnings = ask(self._around.probes(self._pack.body), self._questions, self._baseline)
        except Exception as failure:  # what is cut stays cut, whatever the probes do
            warnings = (f"the probes could not be run: {failure}",)
        for warning in warnings:
            self._warn(warning)
        if not self._verdict.open_points:
            self._verdict.verified_s = self._around.elapsed()
            self._say(f"verified at {self._verdict.verified_s:.1f} s")
        self._progress()

    def _confirm(self) -> None:
        from orchestrator.domain.probes import Purpose
        from orchestrator.service.cutoff_probes import ask

        failover_s = float(self._pack.body["profiles"][self._verdict.profile].get("failover_s") or 0)
        negative = [probe for probe in self._questions if probe.purpose is Purpose.NEGATIVE]
        if not failover_s or not negative:
            return
        self._say(f"waiting {failover_s:g} s, the longest declared failover time, then probing the exits again")
        self._around.wait(failover_s)
        try:
            self._verdict.confirmation, _ = ask(self._around.probes(self._pack.body), negative, self._baseline)
        except Exception as failure:
            self._warn(f"the probes could not be run again: {failure}")
            return
        if not self._verdict.open_points:
            self._verdict.confirmed_s = self._around.elapsed()

    # 10: the record and the verdict

    def _conclude(self) -> None:
        verdict = self._verdict
        verdict.by = self._around.ask_name() or verdict.by
        verdict.finished = True
        self._recorder.record(self._events.ended(verdict))
        verdict.recorded = self._merged(self._recorder.finish())
        verdict.warnings += self._recorder.failures
        self._progress()

    def _merged(self, where: str) -> str:
        """What went to the spool because the log was slow belongs into the log now that there is time (bounded, too)."""
        take = self._around.merge
        if where != "spool" or take is None:
            return where
        ended, merged = threading.Event(), list[object]()

        def merge() -> None:
            try:
                merged.append(take())
            finally:
                ended.set()  # a log that is known to be away is not waited for

        _in_background(merge)
        ended.wait(MERGE_WAITS_S)
        return "log" if merged else where

    def _warn(self, warning: str) -> None:
        if warning not in self._verdict.warnings:
            self._verdict.warnings.append(warning)

    def _say(self, line: str) -> None:
        with self._lock:
            self._tell(line)

    def _progress(self) -> None:
        """Best effort: who cannot be told by file is told on the terminal."""
        try:
            with self._lock:
                self._around.files.save_progress(self._epoch, self._verdict.as_json())
        except OSError as failure:
            self._warn(f"the progress cannot be written ({failure}): `orchestrator status` will not find this cut-off")


def _in_background(work: Callable[[], object]) -> threading.Thread:
    def guarded() -> None:
        try:
            work()
        except Exception:  # whoever needs the result meets the same error in its own place
            return

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    return thread
