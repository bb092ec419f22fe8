"""Reads the Ansible inventory (one YAML file) into a `Site`.

The file is an ordinary Ansible inventory; group variables are merged as Ansible merges them (all, group, host),
and a contract test holds our reading against `ansible-inventory --list`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.adapters.yaml_documents import Document, Key, plain, read_document, validation_findings
from orchestrator.domain.network import Device, Exit, Host, Interface, Node, Outside, Segment, Site, Zone
from orchestrator.errors import Finding, PolicyError

DEVICE_GROUPS = ("firewalls", "gateways", "routers", "switches")
HOST_GROUPS = ("vantage_points", "responders")
OUTSIDE_GROUPS = ("outside",)


@dataclass(frozen=True)
class Inventory:
    """A site, and the document it came from (for the line numbers of later findings)."""

    site: Site
    document: Document

    def finding(self, node: str, message: str, advice: str, *within: Key) -> Finding:
        """A finding at a named device, host, zone, segment or exit of the inventory."""
        return self.document.finding([*_path_of(self.document, node), *within], message, advice)


def read_inventory(path: Path) -> Inventory:
    """Raises PolicyError with every structural problem found (file, line, message, advice)."""
    document = read_document(path)
    top = document.root.get("all")
    if not isinstance(top, Mapping):
        raise PolicyError((document.finding([], "`all:` is missing", "an Ansible YAML inventory starts with `all:`"),))
    findings: list[Finding] = []
    variables = plain(top.get("vars") or {})
    nodes: dict[type[Node], list[Any]] = {Device: [], Host: [], Outside: []}
    seen: dict[str, str] = {}
    for group, content in (top.get("children") or {}).items():
        kind: type[Node] | None = (
            Device if group in DEVICE_GROUPS else Host if group in HOST_GROUPS else Outside if group in OUTSIDE_GROUPS else None
        )
        if kind is None:
            known = ", ".join(DEVICE_GROUPS + HOST_GROUPS + OUTSIDE_GROUPS)
            findings.append(document.finding(["all", "children", group], f"unknown group {group!r}", f"use one of {known}"))
            continue
        shared = plain((content or {}).get("vars") or {})
        for name, own in ((content or {}).get("hosts") or {}).items():
            where: list[Key] = ["all", "children", group, "hosts", name]
            if name in seen:
                findings.append(document.finding(where, f"{name} is in two groups: {seen[name]} and {group}", "keep one"))
                continue
            seen[name] = group
            merged = {"ansible_user": variables.get("ansible_user", "containment"), **shared, **plain(own or {})}
            try:
                nodes[kind].append(kind.model_validate(_node(str(name), merged, kind)))
            except ValidationError as error:
                findings.extend(validation_findings(document, where, error))
    parts: dict[str, Any] = {}
    for key, model in (("zones", Zone), ("segments", Segment), ("exits", Exit)):
        values = variables.get(key) or {}
        parts[key] = []
        for name, value in values.items():
            try:
                parts[key].append(model.model_validate({"name": name, **(value or {})}))
            except ValidationError as error:
                findings.extend(validation_findings(document, ["all", "vars", key, name], error))
    try:
        orchestrator = Interface.model_validate({"name": "mgmt0", **variables.get("orchestrator", {}).get("interface", {})})
        name = TypeAdapter(str).validate_python(variables.get("site"))
    except ValidationError as error:
        findings.extend(validation_findings(document, ["all", "vars"], error))
    if findings:
        raise PolicyError(tuple(findings))
    site = Site(
        name=name,
        devices=tuple(nodes[Device]),
        hosts=tuple(nodes[Host]),
        outside=tuple(nodes[Outside]),
        orchestrator=orchestrator,
        **{key: tuple(value) for key, value in parts.items()},
    )
    return Inventory(site, document)


def _node(name: str, merged: dict[str, Any], kind: type[Node]) -> dict[str, Any]:
    """The host variables in the shape of our models: Ansible's own names become ours."""
    node: dict[str, Any] = {"name": name}
    for key, value in merged.items():
        if key == "ansible_host":
            node["management"] = value
        elif key == "ansible_user":
            node["user"] = value
        elif key == "services":
            node[key] = [_service(item) for item in value]
        elif key in ("interfaces", "ports"):
            node[key] = [{"name": item, **(content or {})} for item, content in (value or {}).items()]
        elif key == "platform" and kind is not Device:
            continue
        elif not key.startswith("ansible_"):
            node[key] = value
    return node


def _service(text: Any) -> Any:
    """`tcp/443` as a mapping; anything else is left for the model to refuse."""
    kind, slash, port = str(text).partition("/")
    return {"kind": kind, "port": port} if slash else text


def _path_of(document: Document, name: str) -> list[Key]:
    top = document.root["all"]
    for group, content in (top.get("children") or {}).items():
        if name in ((content or {}).get("hosts") or {}):
            return ["all", "children", group, "hosts", name]
    for key in ("zones", "segments", "exits"):
        if name in (top.get("vars", {}).get(key) or {}):
            return ["all", "vars", key, name]
    return ["all"]
