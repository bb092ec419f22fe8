"""The posture of the site. Everything that changes it is an edge of TABLE and goes through `after`.

`isolating` can be entered from anywhere. A partial cut-off stays `partially-isolated` until another one is verified.
`restoring` starts with the first stage that is applied, not with the first that is open: from then on traffic may pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from orchestrator.domain.events import EventType as E
from orchestrator.domain.transitions import look_up


class SitePosture(StrEnum):
    NORMAL = "normal"
    ISOLATING = "isolating"
    ISOLATED = "isolated"
    PARTIALLY_ISOLATED = "partially-isolated"
    RESTORING = "restoring"
    SURVEILLANCE = "surveillance"


P = SitePosture
INITIAL = P.NORMAL
_ORDERED = {E.CUTOFF_ORDERED: P.ISOLATING}

TABLE: Mapping[SitePosture, Mapping[E, SitePosture]] = {
    P.NORMAL: _ORDERED,
    P.ISOLATING: {**_ORDERED, E.CUTOFF_VERIFIED: P.ISOLATED, E.CUTOFF_PARTIAL: P.PARTIALLY_ISOLATED},
    P.ISOLATED: {
        **_ORDERED,
        E.CUTOFF_VERIFIED: P.ISOLATED,  # confirmed again after the failover time, or by a second cut-off
        E.CUTOFF_PARTIAL: P.PARTIALLY_ISOLATED,
        E.STAGE_APPLYING: P.RESTORING,
        E.STAGE_RESUMED: P.RESTORING,
        E.LAYER_LIFTED: P.SURVEILLANCE,
    },
    P.PARTIALLY_ISOLATED: {
        **_ORDERED,
        E.CUTOFF_VERIFIED: P.ISOLATED,
        E.CUTOFF_PARTIAL: P.PARTIALLY_ISOLATED,
        E.LAYER_LIFTED: P.SURVEILLANCE,
    },
    P.RESTORING: {
        **_ORDERED,
        E.CUTOFF_VERIFIED: P.RESTORING,
        E.CUTOFF_PARTIAL: P.PARTIALLY_ISOLATED,
        E.STAGE_APPLYING: P.RESTORING,
        E.STAGE_RESUMED: P.RESTORING,
        E.LAYER_LIFTED: P.SURVEILLANCE,
    },
    P.SURVEILLANCE: {**_ORDERED, E.SURVEILLANCE_ENDED: P.NORMAL},
}

OPENING_ALLOWED = frozenset({P.ISOLATED, P.RESTORING})  # a stage may be applied: the cut is verified


def after(posture: SitePosture, event: E) -> SitePosture:
    """The posture after `event`. Raises IllegalTransition (rule `illegal-transition`)."""
    return look_up(TABLE, posture, event, "the site")
