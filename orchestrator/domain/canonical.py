"""Canonical JSON (RFC 8785) and digests: the one form that is hashed and signed everywhere."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785


def canonical(value: Any) -> bytes:
    """The RFC 8785 form. Raises rfc8785.CanonicalizationError for what is not JSON."""
    return rfc8785.dumps(value)


def digest(value: Any) -> str:
    """SHA-256, hex, of the canonical form."""
    return hashlib.sha256(canonical(value)).hexdigest()
