"""Every answer that a test gets is held against the API's own description: no undocumented status, member or form.

`python -m tests.api.described` makes `orchestrator/api/examples.json` anew, of answers that these tests are really given.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache, cached_property
from typing import Any

import httpx
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from orchestrator.api.app import create_app
from orchestrator.api.openapi import EXAMPLES
from tests.service.reopening import Reopening

Json = dict[str, Any]
RECORDING = bool(os.environ.get("RECORD_EXAMPLES"))
_BASE = "urn:openapi"
_SECRET = {"token": "4Jr0qnVt1Xl2bYw3m9uKZs5hE7cPdG8aTfRiQoNv6yA"}


class Description:
    """Of an API; `check` is an httpx hook for every response."""

    def __init__(self, openapi: Json) -> None:
        self.openapi = openapi
        self._registry: Registry[Any] = Registry().with_resource(_BASE, DRAFT202012.create_resource(openapi))
        self._validators: dict[str, Draft202012Validator] = {}

    @cached_property
    def _paths(self) -> list[tuple[re.Pattern[str], str]]:
        """Those without a name in them first: `/v1/devices/distrusted` is no device."""
        found = sorted(self.openapi["paths"], key=lambda path: path.count("{"))
        return [(re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), path) for path in found]

    def operation(self, method: str, path: str) -> tuple[str, Json] | None:
        """Its name (`GET /v1/stages/{stage}`) and description; None for what the API does not have."""
        for pattern, template in self._paths:
            if pattern.fullmatch(path) and method.lower() in self.openapi["paths"][template]:
                return f"{method} {template}", self.openapi["paths"][template][method.lower()]
        return None

    def check(self, response: httpx.Response) -> None:
        """Raises AssertionError for an answer that is not as described."""
        found = self.operation(response.request.method, response.request.url.path)
        if response.request.url.path == "/v1/openapi.json":
            return
        assert "x-request-id" in response.headers
        if found is None or response.headers.get("content-type", "").startswith("text/event-stream"):
            assert found or response.status_code in (401, 404, 405), response.status_code
            return
        response.read()
        name, operation = found
        described = operation["responses"].get(str(response.status_code))
        assert described is not None, f"{name} answers {response.status_code}, which is not described: {response.text[:300]}"
        if "$ref" in described:
            described = self.openapi["components"]["responses"][described["$ref"].rpartition("/")[2]]
        undescribed = {"location", "link", "etag", "idempotent-replayed", "retry-after", "www-authenticate"} & set(response.headers)
        undescribed -= {header.lower() for header in described.get("headers", {})}
        assert not undescribed, f"{name} {response.status_code}: {undescribed} not described"
        kind = response.headers.get("content-type", "")
        if not response.content:
            assert not described.get("content"), f"{name} {response.status_code}: nothing, and something is described"
            return
        content = described.get("content", {})
        assert kind.partition(";")[0] in content, f"{name} {response.status_code}: {kind} is not described"
        if "json" in kind:
            self.require(content[kind]["schema"], response.json(), f"{name} {response.status_code}")
            if RECORDING and response.is_success:
                record(name, response)

    def require(self, schema: Json, value: Any, where: str) -> None:
        """Raises AssertionError when the value is not as the schema says."""
        key = json.dumps(schema)
        if key not in self._validators:
            absolute = json.loads(key.replace('"#/components', f'"{_BASE}#/components'))
            self._validators[key] = Draft202012Validator(absolute, registry=self._registry)
        error = next(self._validators[key].iter_errors(value), None)
        assert error is None, f"{where}: {error.json_path}: {error.message[:300]}" if error else ""


@cache
def the_description() -> Description:
    return Description(create_app(Reopening().stages).openapi())


def record(name: str, response: httpx.Response) -> None:
    """The first answer of each operation that shows something."""
    known: Json = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    if known.get(name, {}).get("answer"):
        return
    found: Json = {"answer": shortened(response.json())}
    if body := response.request.content:
        found["request"] = shortened(json.loads(body))
    EXAMPLES.write_text(as_file({**known, name: found}), encoding="utf-8")


def as_file(examples: Json) -> str:
    """A line for each operation, in their order: a change of one is a change of one line."""
    lines = (f"{json.dumps(name)}: {json.dumps(example, ensure_ascii=False)}" for name, example in sorted(examples.items()))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def shortened(value: Any) -> Any:
    """Of lists the first, of texts the beginning of the long ones: an example, not the thing."""
    if isinstance(value, list):
        return [shortened(item) for item in value[:1]]
    if isinstance(value, dict):
        return {key: _SECRET.get(key) or shortened(item) for key, item in (value.items() if len(value) < 40 else list(value.items())[:3])}
    return f"{value[:200]}…" if isinstance(value, str) and len(value) > 1500 else value


if __name__ == "__main__":
    EXAMPLES.write_text(as_file({}), encoding="utf-8")
    recording = {**os.environ, "RECORD_EXAMPLES": "1"}
    sys.exit(subprocess.run([sys.executable, "-m", "pytest", "tests/api"], env=recording, check=False).returncode)
