"""The cut pack: everything a cut-off needs, signed at ratification, read without any library.

Self-contained JSON: `{"body": {…}, "signature": "-----BEGIN SSH SIGNATURE-----…"}`; the signature is the site key's over
the canonical JSON of `body`, namespace `cut-pack@v1`. This module imports the standard library only: the emergency
command reads the pack before anything else.

body:
    schema            1
    site              name
    made_at           RFC 3339 UTC
    ratified          false when it was made from files that nobody ratified; the verdict then says so
    policy_digest, inventory_digest   SHA-256, hex
    default_profile   name
    rehearsal         bool
    internal          prefixes (text) of the zones that are not external
    profiles          {profile: {"title": {"en","fr"}, "devices": [device…], "probes": [probe…], "failover_s": number,
                                 "manual": [text…], "kept": [text…], "instead": {"guards": {guard: device}, "dead": {key: answer}}}}
        device        {"device", "platform", "address", "port", "user", "host_keys": [line…], "wave": 0…, "layer": Layer as JSON,
                       "guards": [text…], "lay", "persist", "read_back", "sessions": script, "expected": Observed as JSON}
        script        {"kind", "command", "text"} with the placeholder `{epoch}`
        probe         orchestrator.domain.probes.Probe as JSON
        instead       what to close when devices do not take the layer; optional (packs made in an emergency have none). `guard`
                      is `device[port]`, `key` the dead devices joined by `+`, sorted
        answer        {"path": text, "lay": [guard…], "gives_up": [text…], "by_hand": [text…], "left": text}: the way that is open
                      then (empty: none), what to close, what ends with it, what is pulled by hand, the way left until then
    people            {person: [role…]}
    vantage_points    {host: {"address", "port", "user", "host_keys": [line…]}} where the probes run; optional (else the
                      inventory on disk says it)
"""

from __future__ import annotations

from typing import Any

SCHEMA = 1
NAMESPACE = "cut-pack@v1"


def devices_of(pack: dict[str, Any], profile: str) -> list[dict[str, Any]]:
    """The device entries of a profile, far waves first. Raises KeyError for an unknown profile."""
    devices: list[dict[str, Any]] = pack["profiles"][profile]["devices"]
    return sorted(devices, key=lambda device: int(device["wave"]))
