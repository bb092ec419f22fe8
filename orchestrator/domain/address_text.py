"""Prefixes as text. A plan writes each of them many times: per device, per script and in what is hashed."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network


def prefix_text(prefix: IPv4Network | IPv6Network) -> str:
    """As `str` gives it: `198.51.100.14/32`."""
    if isinstance(prefix, IPv6Network):
        # With a scope the number alone does not say which prefix it is.
        return str(prefix) if prefix.network_address.scope_id else _text6(int(prefix.network_address), prefix.prefixlen)
    return _text4(int(prefix.network_address), prefix.prefixlen)


def host_or_prefix_text(prefix: IPv4Network | IPv6Network) -> str:
    """`198.51.100.14` for one host, else as `prefix_text`."""
    text = prefix_text(prefix)
    return text[: text.rindex("/")] if prefix.prefixlen == prefix.max_prefixlen else text


@lru_cache(maxsize=65_536)
def _text4(number: int, length: int) -> str:
    return str(IPv4Network((number, length)))


@lru_cache(maxsize=65_536)
def _text6(number: int, length: int) -> str:
    return str(IPv6Network((number, length)))
