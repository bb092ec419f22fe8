"""The block list in a cut-off: a pack cannot know what was blocked since it was made, and the log does.

Begun when the layer lies and has been read back, beside the probes: nothing waits for it but the verdict, and that not for long.
The list only subtracts further: a device that does not take it warns, and is owed it by the log (`domain/owed.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.errors import DeviceError
from orchestrator.ports import Credential, DeviceStep, Outcome
from orchestrator.service.subtracting import Body, block_body

if TYPE_CHECKING:
    from orchestrator.dialects.base import Dialect, Script
    from orchestrator.domain.layer import Observed
    from orchestrator.domain.network import Prefix
    from orchestrator.ports import Devices, Target
    from orchestrator.service.cutoff_pack import Cut

BLOCK_DEADLINE_S = 10.0
READING_WAITS_S = 5.0  # the verdict, for the log to be read; mostly that was done long before
VERDICT_WAITS_S = 12.0  # and then for the list to be laid


def lay_blocks(
    networks: Sequence[Prefix], cuts: Sequence[Cut], devices: Devices, dialect: Callable[[str], Dialect]
) -> Iterator[tuple[Cut, Body, str]]:
    """All devices of these that keep a list at once: each with the body of its event, and what it does not block (empty: nothing)."""
    keeping = {cut.device: cut for cut in cuts if dialect(cut.target.platform).traits.blocks}
    scripts: dict[str, Script] = {name: dialect(cut.target.platform).block(tuple(networks)) for name, cut in keeping.items()}
    work: Mapping[Target, Sequence[Script]] = {cut.target: (scripts[name], cut.read_back) for name, cut in keeping.items()}
    missing = dict(keeping)
    for outcomes in devices.run(work, credential=Credential.CUT, deadline_s=BLOCK_DEADLINE_S, verb="cutoff") if work else ():
        cut = missing.pop(outcomes[0].device)
        body, wrong = block_body(networks, _seen(outcomes, dialect(cut.target.platform)), scripts[cut.device], exactly=False)
        yield cut, body, "; ".join(wrong)
    for name, cut in missing.items():
        body, wrong = block_body(networks, "no answer", scripts[name], exactly=False)
        yield cut, body, "; ".join(wrong)


def _seen(outcomes: Sequence[Outcome], dialect: Dialect) -> Observed | str:
    bad = next((outcome for outcome in outcomes if outcome.step is not DeviceStep.APPLIED), None)
    if bad is not None or len(outcomes) < 2:
        return f"{bad.step}: {bad.detail}" if bad is not None else "it was not read back"
    try:
        return dialect.parse(outcomes[-1].output)
    except DeviceError as failure:
        return str(failure)
