"""Where things live: the state directory, and the files that this process reads.

Standard library only, and no I/O at import: the emergency command reads this first.

Environment: ORCHESTRATOR_STATE (state directory, default /var/lib/orchestrator), ORCHESTRATOR_INVENTORY (default
inventory/valmont.yml), ORCHESTRATOR_POLICY (default policies/valmont), ORCHESTRATOR_LIMITS (openings at a time per
platform, `frr=4,nftables=32`; default in `adapters/device_turns.py`), ORCHESTRATOR_LOG (`postgresql://ROLE@HOST/DATABASE`,
without a password; default: what `log.location` in the state directory remembers, else `sqlite`, a file of that directory),
ORCHESTRATOR_DEBUG (1: tracebacks).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_STATE = "/var/lib/orchestrator"
DEFAULT_INVENTORY = "inventory/valmont.yml"
DEFAULT_POLICY = "policies/valmont"


@dataclass(frozen=True)
class StateDirectory:
    """The paths under `--state`. Keys and evidence live here, policies and inventory in the repository."""

    root: Path

    @property
    def log(self) -> Path:
        return self.root / "log.sqlite"

    @property
    def log_head(self) -> Path:
        """The log's head, kept outside the database."""
        return self.root / "log.head"

    @property
    def log_location(self) -> Path:
        """The address of the log, where it is not in this directory."""
        return self.root / "log.location"

    @property
    def volatile(self) -> Path:
        """Tokens, challenges, answers to be repeated: never evidence, may be lost."""
        return self.root / "volatile.sqlite"

    @property
    def spool(self) -> Path:
        """What could not be written to the log, to be merged later, marked as late."""
        return self.root / "spool"

    @property
    def spool_fallback(self) -> Path:
        """The same for when the state directory is on a disk that has become read-only; it does not outlive a reboot."""
        name = hashlib.sha256(os.fsencode(self.root.absolute())).hexdigest()[:16]
        return Path(os.environ.get("XDG_RUNTIME_DIR") or "/run") / "network-isolation-orchestrator" / f"{name}.spool"

    @property
    def elsewhere(self) -> Path:
        """Where the emergency command writes when this directory cannot be written: gone at the next boot, and better
        than nothing. The name is bound to this directory, so that two of them do not mix."""
        return self.spool_fallback.with_suffix("")

    @property
    def site_key(self) -> Path:
        return self.root / "site_key"

    @property
    def site_key_public(self) -> Path:
        return self.root / "site_key.pub"

    @property
    def allowed_signers(self) -> Path:
        return self.root / "allowed_signers"

    @property
    def known_hosts(self) -> Path:
        return self.root / "known_hosts"

    @property
    def cut_pack(self) -> Path:
        return self.root / "cut-pack.json"

    @property
    def previous_cut_pack(self) -> Path:
        return self.root / "cut-pack.previous.json"

    @property
    def cut_key(self) -> Path:
        return self.root / "keys" / "cut_ed25519"

    @property
    def open_key(self) -> Path:
        return self.root / "keys" / "open_ed25519"

    @property
    def probe_key(self) -> Path:
        return self.root / "keys" / "probe_ed25519"

    @property
    def probe_authorities(self) -> Path:
        """Certificate authorities (PEM) that TLS probes believe; without it, those that the vantage point trusts."""
        return self.root / "probe-authorities.pem"

    @property
    def epoch(self) -> Path:
        """The last epoch that a cut-off raised (best effort: the log and the clock are the other two sources)."""
        return self.root / "epoch"

    @property
    def baseline(self) -> Path:
        """Which probes passed before the cut (`orchestrator probe --save-baseline`)."""
        return self.root / "baseline.json"

    @property
    def sessions(self) -> Path:
        """Evidence: the tracked connections of each device, listed after the drop and before the kill."""
        return self.root / "sessions"

    @property
    def site_rules(self) -> Path:
        """The devices' own rules as they were read when a lift was planned, each under the SHA-256 of its text."""
        return self.root / "site-rules"

    def progress(self, epoch: int) -> Path:
        """What a cut-off has done so far; `orchestrator status` reads the newest."""
        return self.root / f"cutoff-{epoch}.json"


def state_directory(environ: Mapping[str, str] = os.environ) -> StateDirectory:
    return StateDirectory(Path(environ.get("ORCHESTRATOR_STATE") or DEFAULT_STATE))


def inventory_path(environ: Mapping[str, str] = os.environ) -> Path:
    return Path(environ.get("ORCHESTRATOR_INVENTORY") or DEFAULT_INVENTORY)


def policy_path(environ: Mapping[str, str] = os.environ) -> Path:
    return Path(environ.get("ORCHESTRATOR_POLICY") or DEFAULT_POLICY)


def device_limits(environ: Mapping[str, str] = os.environ) -> str:
    return environ.get("ORCHESTRATOR_LIMITS", "")


def log_setting(environ: Mapping[str, str] = os.environ) -> str:
    """Where the log is, as it was said; empty when it was not. `wiring_log` looks further."""
    return environ.get("ORCHESTRATOR_LOG", "").strip()
