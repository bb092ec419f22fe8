"""Reads OpenSSH `known_hosts` lines: `address[,address…] type base64`. Hashed names and markers are passed over."""

from __future__ import annotations

from pathlib import Path


def read_known_hosts(path: Path) -> dict[str, tuple[str, ...]]:
    """Address → `type base64` lines; empty when there is no such file (the devices then refuse, one by one)."""
    found: dict[str, tuple[str, ...]] = {}
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if len(words) < 3 or line.startswith(("#", "@", "|")):
            continue
        for name in words[0].split(","):
            found[name.strip("[]")] = (*found.get(name.strip("[]"), ()), f"{words[1]} {words[2]}")
    return found
