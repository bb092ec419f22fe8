"""Joins ratification and the making of the cut pack with the state directory and the files on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.adapters.known_hosts import read_known_hosts
from orchestrator.adapters.pack_file import keep_pack
from orchestrator.adapters.site_files import SiteFiles, read_checked
from orchestrator.adapters.site_key import load_or_create_site_key
from orchestrator.adapters.spool import Spool
from orchestrator.adapters.sshsig import SshSignatures
from orchestrator.domain.digests import inventory_digest, policy_digest
from orchestrator.domain.making import stamp
from orchestrator.domain.network import Site
from orchestrator.domain.policy import Policy
from orchestrator.errors import EnvironmentMissing, Refused
from orchestrator.service.pack_making import DialectFor, make_pack
from orchestrator.service.ratify import Ratification, in_force
from orchestrator.settings import StateDirectory, inventory_path, policy_path
from orchestrator.wiring_hospital import dialect_named
from orchestrator.wiring_log import log_is_there, open_log


class UtcClock:
    """Implements `ports.Clock` with the machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def ratification(state: StateDirectory, *, dialects: DialectFor = dialect_named) -> Ratification:
    """Raises EnvironmentMissing for a state directory without `allowed_signers`, or a site key that cannot be used."""
    key = load_or_create_site_key(state.site_key).private
    return Ratification(
        log=open_log(state),
        clock=UtcClock(),
        signatures=lambda text: SshSignatures(text, key),
        allowed_signers=_allowed_signers(state.allowed_signers),
        host_keys=read_known_hosts(state.known_hosts),
        dialect_for=dialects,
        keep_pack=lambda envelope: _keep(state, envelope),
    )


def files_on_disk(*, inventory: Path | None = None, policy: Path | None = None, rehearsal: bool = False) -> SiteFiles:
    """Read and held against each other. Raises PolicyError with every finding."""
    return read_checked(inventory or inventory_path(), policy or policy_path(), rehearsal=rehearsal)


@dataclass(frozen=True)
class Read:
    """A policy with its inventory and, where they are known, the people's keys."""

    site: Site
    policy: Policy
    signers: str | None


def read_ratified(state: StateDirectory) -> Read:
    """What the log says is in force. Raises Refused (rule `not-ratified`)."""
    found = None
    if log_is_there(state):
        with open_log(state, read_only=True) as log:
            found = in_force(log)
    if found is None:
        raise Refused(
            f"no policy is ratified in {state.root}", rule="not-ratified", advice="compare two folders, or give --state before the verb"
        )
    before, event = found
    return Read(Site.model_validate(event.body["inventory"]), before.policy, before.allowed_signers)


def read_files(state: StateDirectory, inventory: Path, policy: Path, rehearsal: bool) -> Read:
    """The files on disk, with the keys of the state directory when it has any. Raises PolicyError with every finding; tests
    of the policy that fail are let pass: a comparison shows why."""
    files = read_checked(inventory, policy, rehearsal=rehearsal, untested=True)
    signers = state.allowed_signers
    return Read(files.site, files.policy, _allowed_signers(signers) if signers.exists() else None)


def pack_from_files(state: StateDirectory, *, dialects: DialectFor = dialect_named, rehearsal: bool = False) -> dict[str, Any]:
    """A pack's body from the files on disk, ratified by nobody: for cutting where no pack was ever made. Raises PolicyError;
    a failing test of the policy is no reason not to cut."""
    files = read_checked(inventory_path(), policy_path(), rehearsal=rehearsal, untested=True)
    return make_pack(
        files.site,
        files.policy,
        policy_digest=policy_digest(files.policy),
        inventory_digest=inventory_digest(files.site),
        made_at=stamp(datetime.now(UTC)),
        ratified=False,
        host_keys=read_known_hosts(state.known_hosts),
        dialect_for=dialects,
    )


def _keep(state: StateDirectory, envelope: Mapping[str, Any]) -> None:
    """The pack, and in peacetime the room for the spool: when the disk is full it is too late for it."""
    keep_pack(state.cut_pack, state.previous_cut_pack, envelope)
    Spool(state.spool, state.spool_fallback).allocate()


def _allowed_signers(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentMissing(
            f"{path} cannot be read: {error}", advice="put the people's public keys there, one `person key` line each; see docs/policy.md"
        ) from error
