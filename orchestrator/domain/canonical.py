"""Canonical JSON (RFC 8785) and digests: the one form that is hashed and signed everywhere."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import rfc8785

_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False)
_EXACT = 2**53 - 1


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
    if kind is str or value is None or kind is bool:
        return True
    if kind is dict:
        return all(type(key) is str and key.isascii() for key in value) and all(map(_is_plain, value.values()))
    if kind is list or kind is tuple:
        return all(map(_is_plain, value))
    return kind is int and -_EXACT <= value <= _EXACT


def digest(value: Any) -> str:
    """SHA-256, hex, of the canonical form."""
    return hashlib.sha256(canonical(value)).hexdigest()
