"""The dialects, one per platform, imported only when asked for: start-up counts in the time to cut."""

from __future__ import annotations

from importlib import import_module

from orchestrator.dialects.base import Dialect
from orchestrator.errors import UnknownName

_HOMES = {
    "nftables": ("orchestrator.dialects.nftables", "NftablesDialect"),
    "iptables": ("orchestrator.dialects.iptables", "IptablesDialect"),
    "openvswitch": ("orchestrator.dialects.openvswitch", "OpenvswitchDialect"),
    "frr": ("orchestrator.dialects.frr", "FrrDialect"),
}
PLATFORMS = tuple(_HOMES)


def dialect_for(platform: str) -> Dialect:
    """The dialect of a platform (`nftables`, `iptables`, `openvswitch`, `frr`). Raises UnknownName."""
    try:
        module, name = _HOMES[platform]
    except KeyError:
        raise UnknownName(f"no dialect speaks {platform!r}", advice=f"platforms: {', '.join(_HOMES)}") from None
    dialect: Dialect = getattr(import_module(module), name)()
    return dialect
