"""The description of the API is whole: every operation says what it takes, what it answers and how it refuses, with examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.openapi import ANSWERS, EXAMPLES
from orchestrator.api.problems import STATUS
from orchestrator.domain.rules import RULES
from tests.api.described import Description, as_file, the_description
from tests.api.server import Api, api_on
from tests.service.reopening import after_the_cut

Json = dict[str, Any]
STORES = ("memory",)
STREAM = "GET /v1/events/stream"


@pytest.fixture(scope="module")
def described() -> Description:
    return the_description()


@pytest.fixture
def api() -> Iterator[Api]:
    with api_on(after_the_cut()) as served:
        yield served


def operations(described: Description) -> dict[str, Json]:
    return {f"{verb.upper()} {path}": found for path, verbs in described.openapi["paths"].items() for verb, found in verbs.items()}


def success(operation: Json) -> Json:
    found: Json = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
    return found


def test_every_operation_says_what_it_does(described: Description) -> None:
    assert described.openapi["info"]["version"]
    tags = {tag["name"] for tag in described.openapi["tags"]}
    for name, operation in operations(described).items():
        assert operation.get("description"), f"{name}: give its function a docstring"
        assert operation["summary"], name
        assert set(operation["tags"]) <= tags, f"{name}: say in openapi.TAGS what {operation['tags']} are"


def test_every_answer_is_described_and_has_an_example_that_fits(described: Description) -> None:
    assert set(operations(described)) - {STREAM} == set(ANSWERS), "describe new answers in api/answers_*.py"
    for name, operation in operations(described).items():
        if name == STREAM:
            continue
        content = success(operation)["content"]["application/json"]
        assert "example" in content, f"{name}: test it over HTTP, and run python -m tests.api.described"
        described.require(content["schema"], content["example"], f"the example of {name}")


def test_the_examples_are_as_the_command_writes_them_and_of_operations_that_there_are() -> None:
    text = EXAMPLES.read_text(encoding="utf-8")
    assert set(json.loads(text)) == set(ANSWERS), "renew them: python -m tests.api.described"
    assert text == as_file(json.loads(text)), "renew them: python -m tests.api.described"


def test_every_request_with_a_body_has_an_example_that_fits(described: Description) -> None:
    for name, operation in operations(described).items():
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            assert "example" in content, f"{name}: test it over HTTP, and run python -m tests.api.described"
            described.require(content["schema"], content["example"], f"the example of {name}")


def test_every_operation_says_how_it_refuses(described: Description) -> None:
    free = {"GET /v1/health", "GET /v1/rules", "GET /v1/rules/{rule}", "POST /v1/login", "POST /v1/login/challenge"}
    for name, operation in operations(described).items():
        refusals = {status for status in operation["responses"] if status[0] in "45"}
        assert "503" in refusals, name
        if name not in free:
            assert {"401", "403", "409"} <= refusals, name
        if name not in free and name.startswith("POST"):
            assert {"404", "412", "413", "422"} <= refusals, name
    known = {status for _, status, _ in STATUS} - {500, 502}
    assert {f"Problem{status}" for status in known} <= set(described.openapi["components"]["responses"])


def test_every_list_comes_in_pages(described: Description) -> None:
    for name, operation in operations(described).items():
        if name.startswith("GET") and ANSWERS.get(name, {}).get("type") == "array":
            assert {"limit", "cursor"} <= {parameter["name"] for parameter in operation["parameters"]}, name
            assert "Link" in success(operation)["headers"], name


def test_nothing_is_described_that_nobody_refers_to(described: Description) -> None:
    text = str(described.openapi)
    for name in described.openapi["components"]["schemas"]:
        assert f"'#/components/schemas/{name}'" in text, name


def test_the_type_of_a_problem_leads_to_a_page_that_is_there(api: Api) -> None:
    refused = api.http.get("/v1/stages").json()
    page = api.http.get(refused["type"])
    assert page.json() == {"rule": "token", "title": "token", "meaning": RULES["token"]}
    shown = api.http.get(refused["type"], headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert shown.headers["content-type"].startswith("text/html")
    assert "log in" in shown.text
    assert api.http.get("/v1/rules/no-such-rule").status_code == 404
    assert api.http.get("/v1/rules/gate-missing:portal-scanned").json()["rule"] == "gate-missing"


def test_a_method_that_there_is_not(api: Api) -> None:
    refused = api.http.request("DELETE", "/v1/evidence")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, POST")
    assert refused.headers["content-type"] == "application/problem+json"


def test_the_page_of_the_api_names_every_rule_with_an_anchor() -> None:
    page = Path("docs/api.md").read_text(encoding="utf-8")
    assert set(re.findall(r'<a id="([a-z-]+)"></a>`', page)) >= set(RULES)
