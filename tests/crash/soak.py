"""A soak: stages are opened and closed again and again by one server, and what it holds is measured on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.domain.stages import StageState
from tests.crash.footprint import Footprint, footprint
from tests.crash.real_site import STAGE, NotInTime, RealSite, await_

SETTLES_S, SETTLES_WITHIN_S = 5.0, 30.0  # sessions end a moment after their last answer
MORE_THAN_THIS_KIB = 32 * 1024  # the bound on growth between two measurements: the log's own share is about 1 KiB an event


@dataclass(frozen=True)
class Soak:
    """`at`: round → what was measured after it."""

    rounds: int
    at: dict[int, Footprint]

    def left_over(self, first: int) -> dict[str, tuple[int, int]]:
        """What was there after the last round and not after this one."""
        return self.at[first].differences(self.at[max(self.at)])

    def grown_kib(self, first: int) -> int:
        return self.at[max(self.at)].rss_kib - self.at[first].rss_kib

    def as_json(self) -> dict[str, Any]:
        return {str(number): asdict(measured) for number, measured in self.at.items()}


def soak(site: RealSite, rounds: int, measured: Collection[int], tell: Callable[[str], None]) -> Soak:
    """So many stages opened and closed on one server. Raises AssertionError for one that does not open, or does not close."""
    temporary = site.directory / "tmp"
    temporary.mkdir()
    found: dict[int, Footprint] = {}
    with site.serving(more={"TMPDIR": str(temporary)}) as server:
        for number in range(1, rounds + 1):
            site.open()
            site.revert()
            assert site.settled()[STAGE] is StageState.REVERTED, site.last_words()
            if number in measured:
                found[number] = _settled(site, server.pid, temporary, found.get(min(found, default=0)))
                tell(f"round {number}: {found[number]}")
    return Soak(rounds, found)


def _settled(site: RealSite, server: int, temporary: Path, first: Footprint | None) -> Footprint:
    """As soon as it is what it was after the first measured round; what it is when that takes too long."""
    if first is None:
        time.sleep(SETTLES_S)
        first = footprint(site, server, temporary)
    with suppress(NotInTime):
        await_(lambda: not first.differences(footprint(site, server, temporary)), SETTLES_WITHIN_S, "nothing is left over")
    return footprint(site, server, temporary)
