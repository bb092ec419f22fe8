"""docs/policy-reference.md, made from the published schema: per section what each key is, and an example of the hospital's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.adapters.policy_schema import policy_schema
from orchestrator.adapters.policy_yaml import NAMED, SINGLE
from orchestrator.adapters.yaml_documents import read_document
from orchestrator.domain.gates import KINDS
from orchestrator.domain.policy_words import DURATION
from orchestrator.domain.services import WORDS

EXAMPLES = {
    "applications": "doctolib",
    "partners": "sister",
    "flows": "blood-supply-out",
    "keep": "telephony-trunk",
    "care": "offices-to-record",
    "profiles": "internet",
    "stages": "P6-remote-maintenance",
    "people": "rssi",
    "tests": "lab-never-before-p5",
}
HEAD = """# Policy reference

Made from the models by `python -m tests.unit.test_documents`; the same as JSON Schema: `policies/policy.schema.json`
(`orchestrator policy schema`). What the words mean together, and what is refused: [policy.md](policy.md). A key without
a default has to be given.
"""
_WORDS = {
    r"^[a-z][a-z0-9-]{0,30}$": "name",
    r"^[a-z][a-z0-9-]{0,14}$": "interface or port",
    r"^[A-Z][A-Za-z0-9-]{1,40}$": "stage",
    DURATION: "duration",
    WORDS: "service",
    r"^([01]\d|2[0-3]):[0-5]\d$": "time of day",
}


def reference(policy: Path) -> str:
    """The page. `policy` is the folder that the examples are taken from."""
    schema = policy_schema()
    parts = [HEAD, "## One value for the whole policy\n", _table(_single(schema), required=(), of_a_file=True)]
    for section, model in NAMED.items():
        definition = schema["$defs"][model.__name__]
        parts += [f"## `{section}`\n", f"{definition['description']}\n", _entries(definition)]
        example = _example(policy, section)
        if example is not None:
            parts.append(f"```yaml\n{example}```\n")
    parts.append("## Parts of entries\n")
    named = {model.__name__ for model in NAMED.values()}
    for name, definition in schema["$defs"].items():
        if name in named:
            continue
        parts += [f"### {name}\n", f"{definition.get('description', '')}\n".lstrip("\n")]
        parts.append(_entries(definition) if "properties" in definition else f"One of {_listed(definition['enum'])}.\n")
    return "\n".join(parts)


def _single(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: schema["properties"][key] for key in SINGLE}


def _entries(definition: Mapping[str, Any]) -> str:
    return _table(definition["properties"], definition.get("required", ()))


def _table(properties: Mapping[str, Any], required: Any, *, of_a_file: bool = False) -> str:
    rows = ["| key | what | default | meaning |", "|---|---|---|---|"]
    for key, node in properties.items():
        default = "" if key in required else _default(node, of_a_file=of_a_file)
        rows.append(f"| `{key}` | {_kind(node)} | {default} | {node.get('description', '').replace('|', '/')} |")
    return "\n".join(rows) + "\n"


def _default(node: Mapping[str, Any], *, of_a_file: bool) -> str:
    if "default" not in node:
        return "" if of_a_file else "none"
    value = node["default"]
    if value in (None, [], {}, ""):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _kind(node: Mapping[str, Any]) -> str:
    """The type in words."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in node or "oneOf" in node:
        choices = [item for item in node.get("anyOf", node.get("oneOf", ())) if item.get("type") != "null"]
        if len(choices) == len(KINDS) and all("$ref" in item for item in choices):
            return "gate (its kinds: `…Gate`, `AllOf`, `AnyOf` below)"
        return " or ".join(dict.fromkeys(_kind(item) for item in choices))
    if "enum" in node:
        return _listed(node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    kind = node.get("type")
    if kind == "array":
        least = node.get("minItems", 0)
        return f"list of {'at least two ' if least == 2 else 'at least one ' if least else ''}{_kind(node['items'])}"
    if kind == "object" or isinstance(kind, list):
        inner = next(iter(node.get("patternProperties", {}).values()), node.get("additionalProperties"))
        return f"{_key(node)} → {_kind(inner)}" if isinstance(inner, dict) else "mapping"
    if kind == "integer":
        return f"number, {node['minimum']} to {node['maximum']}" if "minimum" in node else "number"
    if kind == "boolean":
        return "true or false"
    return _text(node)


def _text(node: Mapping[str, Any]) -> str:
    if node.get("format") == "date-time":
        return "date and time with its offset"
    pattern = str(node.get("pattern", ""))
    if pattern in _WORDS:
        return _WORDS[pattern]
    if pattern:
        return "network" if "/" in pattern else "address"
    return "text"


def _key(node: Mapping[str, Any]) -> str:
    names = node.get("propertyNames", {})
    return _kind(names) if "$ref" in names or "pattern" in names else "name"


def _listed(values: Any) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _example(policy: Path, section: str) -> str | None:
    """The lines of one entry of the hospital's, as they stand in its file: the chosen one, or the first."""
    for path in sorted(policy.rglob("*.yaml")):
        document = read_document(path)
        entries = document.root.get(section)
        if not entries:
            continue
        name = EXAMPLES.get(section, next(iter(entries)))
        if name in entries:
            return f"{section}:\n" + "".join(_lines(path, document.line([section, name])))
    return None


def _lines(path: Path, first: int) -> Iterator[str]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[first - 1 :]
    yield lines[0]
    for line in lines[1:]:
        if not line.strip() or not line.startswith("    "):
            return
        yield line
