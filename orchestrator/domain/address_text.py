"""Addresses and prefixes in the models that are made by the thousand: taken as they are, and written as text once.

Pydantic would try an IPv6 address as one of IPv4 first, both reading and writing it; and a plan writes the same ones
many times: per device, per script and in what is hashed.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Any

from pydantic import PlainSerializer, ValidatorFunctionWrapHandler, WrapValidator


def prefix_text(prefix: IPv4Network | IPv6Network) -> str:
    """As `str` gives it: `198.51.100.14/32`."""
    if isinstance(prefix, IPv6Network):
        # With a scope the number alone does not say which prefix it is.
        return str(prefix) if prefix.network_address.scope_id else _prefix6(int(prefix.network_address), prefix.prefixlen)
    return _prefix4(int(prefix.network_address), prefix.prefixlen)


def host_or_prefix_text(prefix: IPv4Network | IPv6Network) -> str:
    """`198.51.100.14` for one host, else as `prefix_text`."""
    text = prefix_text(prefix)
    return text[: text.rindex("/")] if prefix.prefixlen == prefix.max_prefixlen else text


def address_text(address: IPv4Address | IPv6Address) -> str:
    """As `str` gives it."""
    if isinstance(address, IPv6Address):
        return str(address) if address.scope_id else _address6(int(address))
    return _address4(int(address))


@lru_cache(maxsize=65_536)
def _prefix4(number: int, length: int) -> str:
    return str(IPv4Network((number, length)))


@lru_cache(maxsize=65_536)
def _prefix6(number: int, length: int) -> str:
    return str(IPv6Network((number, length)))


@lru_cache(maxsize=65_536)
def _address4(number: int) -> str:
    return str(IPv4Address(number))


@lru_cache(maxsize=65_536)
def _address6(number: int) -> str:
    return str(IPv6Address(number))


def _prefix_as_it_is(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    return value if type(value) in (IPv4Network, IPv6Network) else validate(value)


def _address_as_it_is(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    return value if type(value) in (IPv4Address, IPv6Address) else validate(value)


KnownPrefix = Annotated[
    IPv4Network | IPv6Network, WrapValidator(_prefix_as_it_is), PlainSerializer(prefix_text, return_type=str, when_used="json")
]
KnownAddress = Annotated[
    IPv4Address | IPv6Address, WrapValidator(_address_as_it_is), PlainSerializer(address_text, return_type=str, when_used="json")
]
