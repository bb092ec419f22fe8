"""A region: several hospitals, each with its own policy and inventory, in two folders side by side.

    policies/<site>/        the policy files of one site, in sub-folders if its teams like
    inventory/<site>.yml    its inventory

Sites share nothing: what one allows never follows from what another one says. Each pair is checked by itself; only
names are compared, because logs, packs and exports are told apart by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.policy_yaml import PolicyFiles, read_policy
from orchestrator.errors import Finding, PolicyError

SUFFIX = ".yml"


@dataclass(frozen=True)
class SitePaths:
    """Where the two halves of one site lie."""

    policy: Path
    inventory: Path


def sites_in(policies: Path, inventories: Path) -> tuple[SitePaths, ...]:
    """Every site of the region, by name of its folder. Raises PolicyError for a folder without an inventory, or the reverse."""
    findings: list[Finding] = []
    folders = {path.name: path for path in _listed(policies, findings) if path.is_dir()}
    files = {path.stem: path for path in _listed(inventories, findings) if path.suffix == SUFFIX and path.is_file()}
    for name in sorted(folders.keys() - files.keys()):
        wanted = inventories / f"{name}{SUFFIX}"
        findings.append(Finding(str(folders[name]), 1, f"has no inventory: {wanted} is missing", "add it, or move the folder away"))
    for name in sorted(files.keys() - folders.keys()):
        findings.append(Finding(str(files[name]), 1, f"has no policy: {policies / name} is missing", "add it, or move the file away"))
    if not folders and not files and not findings:
        findings.append(Finding(str(policies), 1, "holds no folder of a site", "keep one folder per site in it"))
    if findings:
        raise PolicyError(tuple(findings))
    return tuple(SitePaths(folders[name], files[name]) for name in sorted(folders))


def same_names(sites: tuple[SitePaths, ...], *, rehearsal: bool = False) -> tuple[Finding, ...]:
    """Sites that give themselves the name of another one. (Files that cannot be read are told of by their own check.)"""
    findings: list[Finding] = []
    known: dict[str, Path] = {}
    for paths in sites:
        read = _readable(paths.policy, rehearsal)
        if read is None:
            continue
        first = known.setdefault(read.policy.site, paths.policy)
        if first != paths.policy:
            message = f"the site {read.policy.site} is described twice: the first is in {first}"
            findings.append(read.located(["site"], message, "give every site a name of its own, here and in its inventory"))
    return tuple(findings)


def _listed(folder: Path, findings: list[Finding]) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        findings.append(Finding(str(folder), 1, f"cannot be read: {error.strerror}", "give the folder that holds all sites"))
        return []


def _readable(policy: Path, rehearsal: bool) -> PolicyFiles | None:
    try:
        return read_policy(policy, rehearsal=rehearsal)
    except PolicyError:
        return None
