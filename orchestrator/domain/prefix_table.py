"""Which prefix holds an address, in time that does not grow with their number: one dictionary per family and length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Generic, TypeVar

_V = TypeVar("_V")
_BITS = {4: 32, 6: 128}


class PrefixTable(Generic[_V]):
    """Prefixes with a value each; of two equal prefixes the first one counts."""

    def __init__(self, entries: Iterable[tuple[IPv4Network | IPv6Network, _V]]) -> None:
        found: dict[int, dict[int, dict[int, _V]]] = {4: {}, 6: {}}
        for prefix, value in entries:
            length = prefix.prefixlen
            by_start = found[prefix.version].setdefault(_BITS[prefix.version] - length, {})
            by_start.setdefault(int(prefix.network_address) >> (_BITS[prefix.version] - length), value)
        self._longest_first = {version: sorted(lengths.items()) for version, lengths in found.items()}

    def longest(self, address: IPv4Address | IPv6Address) -> _V | None:
        """The value of the longest prefix that holds the address."""
        number = int(address)
        for shift, by_start in self._longest_first[address.version]:
            value = by_start.get(number >> shift)
            if value is not None:
                return value
        return None

    def around(self, prefix: IPv4Network | IPv6Network) -> Iterator[_V]:
        """The values of all prefixes that hold this one whole, itself included, the longest first."""
        number, own = int(prefix.network_address), _BITS[prefix.version] - prefix.prefixlen
        for shift, by_start in self._longest_first[prefix.version]:
            if shift >= own:
                value = by_start.get(number >> shift)
                if value is not None:
                    yield value
