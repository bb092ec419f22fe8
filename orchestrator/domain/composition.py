"""How the layer composes with the site's own rules on one device (design, section 3). Names only: the emergency command
imports this before the layer lies. What they mean is in `composition_programs`, the proofs are in `composition_proof`."""

from __future__ import annotations

from enum import StrEnum


class Composition(StrEnum):
    """Who asks whom. In each of them a packet passes only if the layer and the site's own rules both let it."""

    AND = "and"  # two lists in a row: passing ours is no verdict, the site's list decides after it
    RESUBMIT = "resubmit"  # one list: our pinhole marks the packet and asks the list again, without our entries
    COMPLEMENT = "complement"  # one list: ours are denies around the pinholes, in front of the site's own lines
    INTERSECTION = "intersection"  # one list: the site's own lines, each accept narrowed to the layer
    CLOSE_ONLY = "close-only"  # no list of ours: everything is shut, or the site's own rules are all there is
