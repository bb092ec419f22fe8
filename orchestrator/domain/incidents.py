"""What an incident is made of beside its stages: what it is called, its cut-offs and what was said of them, devices that are not
trusted, what people did by hand. Plain data; `folding_incidents.py` computes it, `decide_incidents.py` decides about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Incident:
    """`name` is what exports are made of; one is open from its declaration to the next one's."""

    name: str
    title: str
    by: str
    at: str
    seq: int
    rehearsal: bool = False


@dataclass(frozen=True)
class Judgement:
    """What an authority says of a cut-off afterwards. It opens nothing and closes nothing."""

    ratified: bool  # or contested
    reason: str
    by: str
    at: str


@dataclass(frozen=True)
class CutRecord:
    """One cut-off. `by` is who ordered it, as far as anybody said so; `judgements` in their order: the last one counts."""

    epoch: int
    profile: str
    by: str
    reason: str
    at: str
    verdict: str = "ordered"
    judgements: tuple[Judgement, ...] = ()
    rehearsal: bool = False


@dataclass(frozen=True)
class Distrust:
    """A device that nothing is opened on until somebody else, with a document, trusts it again."""

    device: str
    reason: str
    by: str
    at: str
    rehearsal: bool = False


@dataclass(frozen=True)
class ManualAct:
    """What somebody did by hand on a device, as they say (a cable, a box of the provider). It proves nothing: a probe does."""

    device: str
    act: str
    done_at: str
    by: str
    at: str
    seq: int
    document_sha256: str = ""
    rehearsal: bool = False


@dataclass(frozen=True)
class Incidents:
    declared: tuple[Incident, ...] = ()
    cuts: Mapping[int, CutRecord] = field(default_factory=dict)  # by epoch
    distrusted: Mapping[str, Distrust] = field(default_factory=dict)  # by device
    manual_acts: tuple[ManualAct, ...] = ()
