"""The JSON Schema (2020-12) of one policy file, from the models: editors complete and check with it.

A file holds any of the sections, so none of them is required here; that together they hold all of them, and that what
they say makes sense, is the work of `policy check`. Names are keys in the files and fields in the models.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter

from orchestrator.adapters.field_docs import field_docs, model_doc
from orchestrator.adapters.policy_yaml import NAMED
from orchestrator.domain.gates import KINDS, WeeklyWindow
from orchestrator.domain.network import Model
from orchestrator.domain.people import PeopleChanges, Turn
from orchestrator.domain.policy import (
    Canary,
    Criteria,
    DatedWindow,
    DriftWatch,
    Ipsec,
    KeptFlow,
    Policy,
    Predecessor,
    Rehearsal,
    Resumption,
    Sacrifice,
)
from orchestrator.domain.policy_words import DURATION, Text

DIALECT = "https://json-schema.org/draft/2020-12/schema"
WITHIN: tuple[type[Model], ...] = (
    Text, Criteria, Ipsec, KeptFlow, Sacrifice, Predecessor, Canary, DatedWindow, DriftWatch, PeopleChanges, Resumption,
    Rehearsal, Turn,
)  # fmt: skip
_NAME = r"^[a-z][a-z0-9-]{0,30}$"
_STAGE = r"^[A-Z][A-Za-z0-9-]{1,40}$"
_V4, _V6 = r"(\d{1,3}\.){3}\d{1,3}", r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"
_FORMATS = {"ipv4": f"^{_V4}$", "ipv6": f"^{_V6}$", "ipv4network": rf"^{_V4}(/\d{{1,2}})?$", "ipv6network": rf"^{_V6}(/\d{{1,3}})?$"}
_ONE_OF: dict[str, tuple[tuple[str, ...], ...]] = {  # what a validator of the model says, in words of JSON Schema
    "KeepEntry": (("zone",), ("flow",)),
    "Obligation": (("due",), ("after_cut",)),
    "Ipsec": (("opaque",), ("terminates_on", "inner")),
}


def models() -> dict[str, type[Model]]:
    """Every model that a file can hold, by its name in the schema."""
    listed: tuple[type[Model], ...] = (*NAMED.values(), *WITHIN, *KINDS.values(), WeeklyWindow)
    return {model.__name__: model for model in listed}


def policy_schema() -> dict[str, Any]:
    """As plain data."""
    given = Policy.model_json_schema()
    definitions: dict[str, Any] = _plain(given["$defs"])
    for name, model in models().items():
        _describe(definitions[name], model)
    for name in (*(model.__name__ for model in NAMED.values()), "KeptFlow"):
        definition = definitions[name]
        definition["properties"].pop("name")
        definition["required"] = [key for key in definition["required"] if key != "name"]
    for name, choices in _ONE_OF.items():
        definitions[name]["oneOf"] = [{"required": list(keys)} for keys in choices]
    keeps = definitions["Profile"]["properties"]["keeps"]
    definitions["Profile"]["properties"]["keeps"] = {"description": keeps["description"], **_by_name("KeptFlow")}
    properties = _plain(given["properties"])
    docs = field_docs(Policy)
    for key, value in properties.items():
        if key in NAMED:
            properties[key] = {"description": model_doc(NAMED[key]), **_by_name(NAMED[key].__name__)}
        elif key in docs:
            value["description"] = docs[key]
    return {
        "$schema": DIALECT,
        "title": "Policy file",
        "description": "One file of a site's policy, or all of it. `orchestrator policy check` holds the files against one another "
        "and against the inventory; docs/policy-reference.md says what each key means.",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "$defs": definitions,
    }


def schema_text() -> str:
    """As it is committed: policies/policy.schema.json."""
    return json.dumps(policy_schema(), ensure_ascii=False, indent=2) + "\n"


def _by_name(model: str) -> dict[str, Any]:
    pattern = _STAGE if model == "Stage" else _NAME
    return {"type": ["object", "null"], "propertyNames": {"pattern": pattern}, "additionalProperties": {"$ref": f"#/$defs/{model}"}}


def _describe(definition: dict[str, Any], model: type[Model]) -> None:
    definition["description"] = model_doc(model)
    docs = field_docs(model)
    for key, value in definition["properties"].items():
        if key in docs:
            value["description"] = docs[key]


def _plain(node: Any) -> Any:
    """Without the titles that pydantic makes of field names, and with patterns for addresses, which editors check."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _plain(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    if found.get("pattern") == DURATION and "default" in found:
        found["default"] = _duration(found["default"])
    if isinstance(pattern := _FORMATS.get(str(found.get("format"))), str):
        found = {"type": "string", "pattern": pattern}
    return found


def _duration(iso: str) -> str:
    """pydantic writes defaults as ISO 8601; the files have a number and a unit."""
    seconds = int(TypeAdapter(timedelta).validate_python(iso).total_seconds())
    unit, length = next((unit, length) for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)) if seconds % length == 0)
    return f"{seconds // length}{unit}" if seconds else "0s"
