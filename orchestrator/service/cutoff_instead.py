"""A device did not take the layer: what the cut-off closes instead, and what it says of the path. Standard library only.

The answers lie in the cut pack (`orchestrator.service.pack_instead`). A device that took the layer, but could not be
read back or would not boot with it, still drops: for it only what ends no kept conversation is closed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.ports import DeviceStep
from orchestrator.service.cutoff_pack import cut_of

if TYPE_CHECKING:
    from orchestrator.service.cutoff_pack import Cut
    from orchestrator.service.cutoff_report import DeviceReport


@dataclass(frozen=True)
class Standing:
    """What is left of the cut without the devices that are not `applied`. `separated` is None when the pack cannot say."""

    without: tuple[str, ...]
    closed: tuple[str, ...]  # guards closed instead
    gives_up: tuple[str, ...]  # kept conversations that end with them
    separated: bool | None
    path: str  # the way that is open; empty when it is separated or not known
    by_hand: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "without": list(self.without), "closed": list(self.closed), "gives_up": list(self.gives_up),
            "separated": self.separated, "path": self.path, "by_hand": list(self.by_hand),
        }  # fmt: skip

    def lines(self, profile: str) -> list[str]:
        names = ", ".join(self.without)
        lines = [f"  instead   closed {', '.join(self.closed)}, for {names}"] if self.closed else []
        lines += [f"  given up  {', '.join(self.gives_up)}: closed with it"] if self.gives_up else []
        if self.separated:
            return [*lines, f"  separated even if {names} let{'s' if len(self.without) == 1 else ''} everything through"]
        if self.separated is None:
            dead = " ".join(f"--dead {name}" for name in self.without)
            return [*lines, f"  unproved  without {names}: see `orchestrator cut prove --profile {profile} {dead}`"]
        return lines  # the remaining path is one of the open points


class Instead:
    """Of one cut-off. Packs without `instead` answer nothing."""

    def __init__(self, body: Mapping[str, Any], profile: str, epoch: int) -> None:
        table = body["profiles"][profile].get("instead") or {}
        self._answers: dict[frozenset[str], dict[str, Any]] = {
            frozenset(key.split("+")): answer for key, answer in table.get("dead", {}).items()
        }
        self._entries: dict[str, dict[str, Any]] = table.get("guards", {})
        self._epoch = epoch
        self._tried: dict[str, Cut] = {}

    def next(self, reports: Iterable[DeviceReport], *, settled: bool) -> tuple[Cut, ...]:
        """What to close now, and never twice. `settled`: every device has been read back, so those that were not count."""
        reports = list(reports)
        lost = frozenset(report.device for report in reports if not report.laid)
        unsure = frozenset(report.device for report in reports if report.step is not DeviceStep.APPLIED) if settled else lost
        for dead, may_end_kept in ((lost, True), (unsure, False)):
            answer = self._answer(dead)
            wanted = [name for name in answer["lay"] if name not in self._tried and name in self._entries]
            if wanted and (may_end_kept or not answer["gives_up"]):
                return self._cuts(wanted)
        return ()

    def standing(self, reports: Iterable[DeviceReport]) -> Standing | None:
        """None when every device is `applied`, or the pack says nothing."""
        reports = list(reports)
        dead = frozenset(report.device for report in reports if report.step is not DeviceStep.APPLIED)
        if not dead or not self._answers:
            return None
        answer = self._answer(dead)
        keys = {report.key for report in reports if report.step is DeviceStep.APPLIED}
        closed = tuple(name for name, cut in self._tried.items() if cut.key in keys)
        separated: bool | None = set(answer["lay"]) <= set(closed) and not answer["left"]
        if dead not in self._answers:
            separated = None
        path = (answer["left"] or answer["path"]) if separated is False else ""
        given_up = {name for done in self._answers.values() if done["lay"] and set(done["lay"]) <= set(closed) for name in done["gives_up"]}
        return Standing(tuple(sorted(dead)), closed, tuple(sorted(given_up)), separated, path, tuple(answer["by_hand"]))

    def _answer(self, dead: Collection[str]) -> dict[str, Any]:
        """Of exactly these; else of all that is known of some of them, together."""
        exact = self._answers.get(frozenset(dead))
        if exact is not None:
            return exact
        parts = [answer for key, answer in self._answers.items() if key <= frozenset(dead)]
        merged: dict[str, Any] = {
            key: list(dict.fromkeys(item for part in parts for item in part[key])) for key in ("lay", "gives_up", "by_hand")
        }
        return {**merged, "path": "", "left": next((part["left"] for part in parts if part["left"]), "")}

    def _cuts(self, names: Iterable[str]) -> tuple[Cut, ...]:
        """Ready to lay: several guards of one device one after the other, each in a wave of its own."""
        cuts: list[Cut] = []
        for name in names:
            cut = cut_of(self._entries[name], self._epoch)
            wave = sum(other.device == cut.device for other in cuts)
            self._tried[name] = replace(cut, wave=wave, further=True)
            cuts.append(self._tried[name])
        return tuple(sorted(cuts, key=lambda cut: cut.wave))
