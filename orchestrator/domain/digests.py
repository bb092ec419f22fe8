"""Digests of the policy and of the inventory: what votes are bound to, besides the plan itself (invariant 5).

SHA-256 over canonical JSON (RFC 8785) of the models as JSON. They hash what the files say, not how they say it: a
comment, another order of keys or another split into files changes nothing. The order of names within a section does
count (stages and flows are opened in it).
"""

from __future__ import annotations

from orchestrator.domain.canonical import digest
from orchestrator.domain.network import Site
from orchestrator.domain.policy import Policy


def policy_digest(policy: Policy) -> str:
    """SHA-256, hex. The rehearsal overlay is part of it: a plan made under it can never pass for a real one."""
    return digest(policy.model_dump(mode="json"))


def inventory_digest(site: Site) -> str:
    """SHA-256, hex."""
    return digest(site.model_dump(mode="json"))
