"""Reads the folder of policy files into a `Policy`: all `*.yaml` in it and in its sub-folders, merged by top-level section.

A section may be spread over several files, or folders, one per team; the same name in two of them is an error that names
both places. `rehearsal.yaml` is left out unless it is asked for. Names are the keys of the files, never written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml.comments import CommentedMap

from orchestrator.adapters.yaml_documents import Document, Key, mapping_at, plain, read_document, validation_findings
from orchestrator.domain.expectations import Expectation
from orchestrator.domain.gates import KINDS
from orchestrator.domain.network import Model
from orchestrator.domain.obligations import Obligation
from orchestrator.domain.people import Delegation, Duty, Person
from orchestrator.domain.policy import Application, CareAssertion, Flow, KeepEntry, Partner, Policy, Profile, Stage
from orchestrator.errors import Finding, PolicyError

REHEARSAL = "rehearsal.yaml"

NAMED: dict[str, type[Model]] = {
    "applications": Application,
    "partners": Partner,
    "flows": Flow,
    "keep": KeepEntry,
    "care": CareAssertion,
    "profiles": Profile,
    "stages": Stage,
    "people": Person,
    "delegations": Delegation,
    "duties": Duty,
    "obligations": Obligation,
    "tests": Expectation,
}
OPTIONAL = ("delegations", "duties", "obligations", "tests")
SINGLE = (
    "version",
    "site",
    "default_profile",
    "ratification",
    "timezone",
    "compromised",
    "resume",
    "drift",
    "people_changes",
    "votes_signed_with",
    "rehearsal",
)


@dataclass(frozen=True)
class PolicyFiles:
    """A policy and the documents it came from (for the line numbers of later findings)."""

    policy: Policy
    documents: tuple[Document, ...]

    def located(self, path: Sequence[Key], message: str, advice: str) -> Finding:
        """A finding at a path of the policy: a section, the name in it, then keys as in the file."""
        document = next((item for item in self.documents if _holds(item, path)), self.documents[0])
        return document.finding(path, message, advice)


def read_policy(directory: Path, *, rehearsal: bool = False) -> PolicyFiles:
    """Raises PolicyError with every structural problem found (file, line, message, advice)."""
    findings: list[Finding] = []
    documents = _documents(directory, rehearsal, findings)
    if not documents:
        raise PolicyError(tuple(findings))
    merged, places = _merged(documents, findings)
    values: dict[str, Any] = {}
    for section, model in NAMED.items():
        values[section] = tuple(_items(section, model, merged.get(section, {}), places, findings))
    for key in SINGLE:
        field = Policy.model_fields[key]
        if key in merged:
            values[key] = _validated(
                places[key, None], [key], TypeAdapter(field.rebuild_annotation()).validate_python, merged[key], findings
            )
        elif field.is_required():
            findings.append(_main(documents).finding([], f"`{key}:` is in none of the files", "add it; see docs/policy.md"))
    for section in NAMED:
        if section not in merged and section not in OPTIONAL:
            findings.append(_main(documents).finding([], f"`{section}:` is in none of the files", "add it; see docs/policy.md"))
    if findings:
        raise PolicyError(tuple(sorted(findings, key=lambda finding: (finding.file, finding.line))))
    return PolicyFiles(Policy(**values), documents)


def _main(documents: Sequence[Document]) -> Document:
    """The file where what is missing would stand: the one with the version, else the first."""
    return next((document for document in documents if "version" in document.root), documents[0])


def _documents(directory: Path, rehearsal: bool, findings: list[Finding]) -> tuple[Document, ...]:
    documents = []
    for path in _files(directory, findings):
        if path.suffix in (".yml", ".json"):
            findings.append(Finding(str(path), 1, "is not read: policy files end in .yaml", f"rename it to {path.stem}.yaml"))
        if path.suffix != ".yaml" or (path.name == REHEARSAL and not rehearsal):
            continue
        try:
            documents.append(read_document(path))
        except PolicyError as error:
            findings.extend(error.findings)
    if not documents and not findings:
        findings.append(Finding(str(directory), 1, "holds no policy file (*.yaml)", "give the folder of the policy files"))
    return tuple(documents)


def _files(directory: Path, findings: list[Finding]) -> list[Path]:
    """All files below, each folder's own before those of its sub-folders; hidden ones are nobody's. Links to folders are
    not followed: a circle of them has no end."""
    try:
        entries = sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    except OSError as error:
        findings.append(Finding(str(directory), 1, f"cannot be read: {error.strerror}", "give the folder of the policy files"))
        return []
    found = [path for path in entries if not path.is_dir()]
    for folder in (path for path in entries if path.is_dir()):
        if folder.is_symlink():
            findings.append(Finding(str(folder), 1, "is not read: it is a link to a folder", "put the files themselves there"))
        else:
            found += _files(folder, findings)
    return found


def _merged(documents: Sequence[Document], findings: list[Finding]) -> tuple[dict[str, Any], dict[tuple[str, str | None], Document]]:
    """The sections of all files together, and in which file each section's name stands."""
    merged: dict[str, Any] = {}
    places: dict[tuple[str, str | None], Document] = {}
    for document in documents:
        for section, value in document.root.items():
            if section in NAMED:
                entries = merged.setdefault(section, {})
                for name, entry in mapping_at(document, value, [section], findings).items():
                    if name in entries:
                        other = places[section, str(name)]
                        first = f"{other.file}:{other.line([section, name])}"
                        message = f"{section}.{name} is defined twice: the first is at {first}"
                        findings.append(document.finding([section, name], message, "keep one, or rename one of the two"))
                        continue
                    entries[name] = entry
                    places[section, str(name)] = document
            elif section in SINGLE:
                if section in merged:
                    other = places[section, None]
                    message = f"{section} is set twice: the first is at {other.file}:{other.line([section])}"
                    findings.append(document.finding([section], message, "keep one"))
                    continue
                merged[section] = plain(value)
                places[section, None] = document
            else:
                known = ", ".join((*NAMED, *SINGLE))
                findings.append(document.finding([section], f"unknown section {section!r}", f"use one of {known}"))
    return merged, places


def _items(
    section: str, model: type[Model], entries: dict[Any, Any], places: dict[tuple[str, str | None], Document], findings: list[Finding]
) -> list[Model]:
    found: list[Model] = []
    for name, entry in entries.items():
        document = places[section, str(name)]
        where = [section, name]
        own = mapping_at(document, entry, where, findings)
        if "name" in own:
            findings.append(document.finding([*where, "name"], f"{section}.{name}.name: the key above is the name", "remove this key"))
            continue
        value = {**{key: plain(item) for key, item in own.items()}, "name": str(name)}
        if section == "profiles":
            value["keeps"] = _kept(document, [*where, "keeps"], own.get("keeps"), findings)
        item = _validated(document, where, model.model_validate, value, findings)
        if isinstance(item, model):
            found.append(item)
    return found


def _kept(document: Document, where: Sequence[Key], value: Any, findings: list[Finding]) -> list[dict[str, Any]]:
    """The kept flows of a profile: a mapping of names in the file, a list with names in the model."""
    entries = mapping_at(document, value, where, findings)
    return [{**plain(mapping_at(document, entry, [*where, name], findings)), "name": str(name)} for name, entry in entries.items()]


def _validated(document: Document, where: Sequence[Key], validate: Callable[[Any], Any], value: Any, findings: list[Finding]) -> Any:
    def named(location: tuple[Key, ...]) -> tuple[Key, ...]:
        path = list(location)
        if len(path) > 1 and path[0] == "keeps" and isinstance(path[1], int):
            path[1] = str(value["keeps"][path[1]]["name"])
        return tuple(part for part in _without_kinds(path) if part != "[key]")

    try:
        return validate(value)
    except ValidationError as error:
        findings.extend(validation_findings(document, where, error, named=named))
        return None


def _without_kinds(path: Sequence[Key]) -> Iterator[Key]:
    """The model names the kind of a gate after its number; the file does not."""
    for index, part in enumerate(path):
        of_a_gate = index > 1 and path[index - 2] in ("gates", "all_of", "any_of") and isinstance(path[index - 1], int)
        if not (of_a_gate and part in KINDS):
            yield part


def _holds(document: Document, path: Sequence[Key]) -> bool:
    """Whether the section and the name that `path` begins with stand in this file."""
    section = document.root.get(path[0])
    return section is not None and (len(path) == 1 or not isinstance(section, CommentedMap) or path[1] in section)
