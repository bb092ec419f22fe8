"""Reads the Ansible inventory (one YAML file) into a `Site`.

The file is an ordinary Ansible inventory; group variables are merged as Ansible merges them (all, group, host),
and a contract test holds our reading against `ansible-inventory --list`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.adapters.yaml_documents import Document, Key, mapping_at, plain, read_document, validation_findings
from orchestrator.domain.network import Device, Exit, Host, Interface, Model, Node, Outside, Segment, Site, Zone
from orchestrator.errors import Finding, PolicyError

DEVICE_GROUPS = ("firewalls", "gateways", "routers", "switches")
HOST_GROUPS = ("vantage_points", "responders")
OUTSIDE_GROUPS = ("outside",)
_SITE_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class Inventory:
    """A site, and the document it came from (for the line numbers of later findings)."""

    site: Site
    document: Document

    def finding(self, node: str, message: str, advice: str, *within: Key) -> Finding:
        """A finding at a named device, host, zone, segment or exit of the inventory."""
        return self.document.finding([*_path_of(self.document, node), *within], message, advice)

    def located(self, path: Sequence[Key], message: str, advice: str) -> Finding:
        """A finding at a path of the domain: `devices`, `hosts`, `outside`, `zones`, `segments`, `exits` or `orchestrator`,
        then the name, then keys as in the file. `management` is Ansible's `ansible_host`."""
        section, rest = path[0], ["ansible_host" if key == "management" else key for key in path[1:]]
        if section in ("zones", "segments", "exits", "orchestrator", "site"):
            return self.document.finding(["all", "vars", section, *rest], message, advice)
        groups = {"devices": DEVICE_GROUPS, "hosts": HOST_GROUPS, "outside": OUTSIDE_GROUPS}[str(section)]
        children = self.document.root["all"].get("children") or {}
        for group in groups:
            if rest and rest[0] in ((children.get(group) or {}).get("hosts") or {}):
                return self.document.finding(["all", "children", group, "hosts", *rest], message, advice)
        return self.document.finding(["all", "children"], message, advice)


def read_inventory(path: Path) -> Inventory:
    """Raises PolicyError with every structural problem found (file, line, message, advice)."""
    document = read_document(path)
    top = document.root.get("all")
    if not isinstance(top, Mapping):
        raise PolicyError((document.finding(["all"], "`all:` is missing", "an Ansible YAML inventory starts with `all:`"),))
    findings: list[Finding] = []
    variables = plain(mapping_at(document, top.get("vars"), ["all", "vars"], findings))
    nodes = _nodes(document, mapping_at(document, top.get("children"), ["all", "children"], findings), variables, findings)
    parts: dict[str, list[Any]] = {}
    raw = mapping_at(document, top.get("vars"), ["all", "vars"], [])
    for key, model in (("zones", Zone), ("segments", Segment), ("exits", Exit)):
        where: list[Key] = ["all", "vars", key]
        if key not in raw:
            findings.append(document.finding(["all", "vars"], f"`{key}:` is missing", "add it; see docs/inventory.md"))
        values = mapping_at(document, raw.get(key), where, findings)
        parts[key] = []
        for name, value in values.items():
            own = plain(mapping_at(document, value, [*where, name], findings))
            _append(document, parts[key], model, {**own, "name": str(name)}, [*where, name], findings)
    name = variables.get("site")
    if not isinstance(name, str) or not _SITE_NAME.fullmatch(name):
        findings.append(document.finding(["all", "vars", "site"], f"`site:` must be a name, not {name!r}", "write `site: chu-valmont`"))
    legs: list[Any] = []
    orchestrator = variables.get("orchestrator")
    where = ["all", "vars", "orchestrator"]
    if isinstance(orchestrator, dict) and isinstance(orchestrator.get("interface"), dict):
        _append(document, legs, Interface, {"name": "mgmt0", **orchestrator["interface"]}, [*where, "interface"], findings)
    else:
        advice = "write `orchestrator: {interface: {link: …, zone: …, addresses: […]}}`"
        findings.append(document.finding(where, "the orchestrator has no management interface", advice))
    if findings:
        raise PolicyError(tuple(sorted(findings, key=lambda finding: finding.line)))
    site = Site(
        name=str(name),
        devices=tuple(nodes[Device]),
        hosts=tuple(nodes[Host]),
        outside=tuple(nodes[Outside]),
        orchestrator=legs[0],
        **{key: tuple(value) for key, value in parts.items()},
    )
    return Inventory(site, document)


def _nodes(
    document: Document, children: Mapping[str, Any], variables: Mapping[str, Any], findings: list[Finding]
) -> dict[type[Node], list[Any]]:
    """Devices, hosts and outside routers of all groups, with the group's variables merged in."""
    nodes: dict[type[Node], list[Any]] = {Device: [], Host: [], Outside: []}
    seen: dict[str, str] = {}
    for group, content in children.items():
        at: list[Key] = ["all", "children", group]
        kind = _kind(group)
        if kind is None:
            known = ", ".join(DEVICE_GROUPS + HOST_GROUPS + OUTSIDE_GROUPS)
            findings.append(document.finding(at, f"unknown group {group!r}", f"use one of {known}"))
            continue
        parts = mapping_at(document, content, at, findings)
        for key in set(parts) - {"hosts", "vars"}:
            findings.append(document.finding([*at, key], f"{key!r} is not read in a group", "use `hosts` and `vars`; no nested groups"))
        shared = plain(mapping_at(document, parts.get("vars"), [*at, "vars"], findings))
        for name, own in mapping_at(document, parts.get("hosts"), [*at, "hosts"], findings).items():
            where: list[Key] = [*at, "hosts", name]
            if name in seen:
                findings.append(document.finding(where, f"{name} is in two groups: {seen[name]} and {group}", "keep one"))
                continue
            seen[str(name)] = group
            before = len(findings)
            variables_of_host = mapping_at(document, own, where, findings)
            for key in ("interfaces", "ports"):
                for part, content_ in mapping_at(document, variables_of_host.get(key), [*where, key], findings).items():
                    mapping_at(document, content_, [*where, key, part], findings)
            if len(findings) > before:
                continue
            merged = {"ansible_user": variables.get("ansible_user", "containment"), **shared, **plain(variables_of_host)}
            _append(document, nodes[kind], kind, _node(str(name), merged, kind), where, findings)
    return nodes


def _kind(group: str) -> type[Node] | None:
    return Device if group in DEVICE_GROUPS else Host if group in HOST_GROUPS else Outside if group in OUTSIDE_GROUPS else None


def _append(
    document: Document, into: list[Any], model: type[Model], value: dict[str, Any], where: Sequence[Key], findings: list[Finding]
) -> None:
    def named(location: tuple[Key, ...]) -> tuple[Key, ...]:
        """Places in lists that are mappings in the file (interfaces, ports) by name; Ansible's own keys."""
        path = [{"management": "ansible_host", "user": "ansible_user"}.get(str(part), part) for part in location]
        if len(path) > 1 and path[0] in ("interfaces", "ports") and isinstance(path[1], int):
            path[1] = str(value[str(path[0])][path[1]]["name"])
        return tuple(path)

    try:
        into.append(model.model_validate(value))
    except ValidationError as error:
        findings.extend(validation_findings(document, where, error, named=named))


def _node(name: str, merged: dict[str, Any], kind: type[Node]) -> dict[str, Any]:
    """The host variables in the shape of our models: Ansible's own names become ours."""
    node: dict[str, Any] = {}
    for key, value in merged.items():
        if key == "ansible_host":
            node["management"] = value
        elif key == "ansible_user":
            node["user"] = value
        elif key == "services":
            node[key] = [_service(item) for item in value] if isinstance(value, list) else value
        elif key in ("interfaces", "ports"):
            node[key] = _named(value)
        elif key == "platform" and kind is not Device:
            continue
        elif not key.startswith("ansible_"):
            node[key] = value
    return {**node, "name": name}


def _named(value: Any) -> list[dict[str, Any]]:
    """`{eth0: {…}}` as a list of things with names."""
    return [{**(content or {}), "name": item} for item, content in (value or {}).items()]


def _service(text: Any) -> Any:
    """`tcp/443`, `tls/443/portal.example`, `dns/53/ours.example/outside.example` as a mapping; anything else is left for the
    model to refuse."""
    kind, slash, rest = str(text).partition("/")
    port, _, names = rest.partition("/")
    name, _, outside = names.partition("/")
    return {"kind": kind, "port": port, **({"name": name} if name else {}), **({"outside": outside} if outside else {})} if slash else text


def _path_of(document: Document, name: str) -> list[Key]:
    top = document.root["all"]
    for group, content in (top.get("children") or {}).items():
        if name in ((content or {}).get("hosts") or {}):
            return ["all", "children", group, "hosts", name]
    for key in ("zones", "segments", "exits"):
        if name in (top.get("vars", {}).get(key) or {}):
            return ["all", "vars", key, name]
    return ["all"]
