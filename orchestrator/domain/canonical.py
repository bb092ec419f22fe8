"""Canonical JSON (RFC 8785) and digests: the one form that is hashed and signed everywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from functools import lru_cache
from typing import Any

import rfc8785

_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False)
_EXACT = 2**53 - 1
_LEAVES = frozenset({str, bool, type(None)})


def canonical(value: Any) -> bytes:
    """The RFC 8785 form. Raises rfc8785.CanonicalizationError for what is not JSON."""
    if _is_plain(value):
        try:
            return _ENCODER.encode(value).encode()
        except UnicodeEncodeError:  # a lone surrogate: refused below, in the library's own words
            pass
    return rfc8785.dumps(value)


def _is_plain(value: Any) -> bool:
    """Whether the standard library's encoder, many times as fast, gives the very same bytes: no floats, exact integers,
    keys whose order is the same in every encoding."""
    kind = type(value)
    if kind in _LEAVES:
        return True
    if kind is dict:
        return _are_plain_keys(tuple(value)) and _are_plain(value.values())
    if kind is list or kind is tuple:
        return _are_plain(value)
    return kind is int and -_EXACT <= value <= _EXACT


def _are_plain(values: Collection[Any]) -> bool:
    """Most collections hold leaves only: their types say so at once."""
    return _LEAVES.issuperset(map(type, values)) or all(map(_is_plain, values))


@lru_cache(maxsize=1024)  # the same few shapes come again and again
def _are_plain_keys(keys: tuple[Any, ...]) -> bool:
    return all(type(key) is str and key.isascii() for key in keys)


def digest(value: Any) -> str:
    """SHA-256, hex, of the canonical form."""
    return hashlib.sha256(canonical(value)).hexdigest()
