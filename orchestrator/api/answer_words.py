"""The few words that answers are described in (JSON Schema, as OpenAPI 3.1 wants it). Every member is always there; null says that
there is none. Descriptions only: nothing is checked while a request is answered; tests hold every answer against them."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

Schema = dict[str, Any]

COMPONENTS: dict[str, Schema] = {}  # by name: what `thing` and `like` have made
TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "description": "RFC 3339"}
DIGEST: Schema = {"type": "string", "description": "SHA-256, in hex", "pattern": "^[0-9a-f]{64}$"}
NULL: Schema = {"type": "null"}
ANYTHING: Schema = {"type": "object"}
_REF = "#/components/schemas/{model}"


def said(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, NULL]}


def many(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def by_name(schema: Schema) -> Schema:
    return {"type": "object", "additionalProperties": schema}


def among(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def thing(title: str, description: str, /, **members: Schema) -> Schema:
    """An object that has exactly these members, under a name of its own."""
    if title in COMPONENTS:
        raise ValueError(f"two answers are called {title}")
    COMPONENTS[title] = {
        "title": title,
        "description": description,
        "type": "object",
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }
    return {"$ref": _REF.format(model=title)}


def more(title: str, of: Schema, description: str, /, **members: Schema) -> Schema:
    """A thing with all members of another, and these."""
    return thing(title, description, **{**COMPONENTS[of["$ref"].rpartition("/")[2]]["properties"], **members})


def like(title: str, kind: Any, description: str, /, **members: Schema) -> Schema:
    """An object with the members of this dataclass or model, as JSON, and these."""
    schema = TypeAdapter(kind).json_schema(mode="serialization", ref_template=_REF)
    for name, found in schema.get("$defs", {}).items():
        if COMPONENTS.setdefault(name, found) != found:
            raise ValueError(f"two different answers are called {name}")
    return thing(title, description, **{**schema["properties"], **members})
