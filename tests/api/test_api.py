"""The API as people meet it: logging in, approving a stage, being refused."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from orchestrator.domain.duties import ROLES_OF, Verb
from orchestrator.domain.policy_words import Role
from orchestrator.domain.rules import RULES, base
from tests.api.server import Api, api_on
from tests.service.reopening import DOCUMENT, after_the_cut

STAGE = "P0-lifelines"
PERSON_OF = {
    Role.INCIDENT_COMMANDER: "commander",
    Role.NETWORK_ENGINEER: "eng-2",
    Role.SECURITY_OFFICER: "rssi",
    Role.APPLICATION_OWNER: "owner-samu",
    Role.DIRECTOR: "director-duty",
    Role.AUDITOR: "auditor",
}


@pytest.fixture
def api() -> Iterator[Api]:
    with api_on(after_the_cut()) as served:
        yield served


def assert_problem(answer: httpx.Response, status: int, rule: str) -> None:
    body = answer.json()
    assert (answer.status_code, body["rule"]) == (status, rule), body
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(body) == {"type", "title", "status", "detail", "rule", "advice"}
    assert body["type"] == f"/v1/rules/{base(rule)}"
    assert base(rule) in RULES


def test_a_stage_is_approved_and_opened_through_the_api(api: Api) -> None:
    api.reopening.evidence(STAGE)
    planned = api.post("eng-1", f"/v1/stages/{STAGE}/plan")
    assert planned.status_code == 201
    assert planned.json()["plan"]["becomes_possible"]
    assert api.vote("eng-2", STAGE).json()["still_needed"] == {"incident-commander": 1}
    approved = api.vote("commander", STAGE)
    assert (approved.status_code, approved.json()["state"]) == (201, "approved")
    begun = api.post("eng-1", f"/v1/stages/{STAGE}/apply")
    assert (begun.status_code, begun.headers["location"]) == (202, f"/v1/stages/{STAGE}")
    assert api.reopening.stages.runner.wait(60)
    shown = api.get("auditor", f"/v1/stages/{STAGE}").json()
    assert (shown["state"], shown["rehearsal"], {vote["person"] for vote in shown["cast"]}) == ("open", True, {"eng-2", "commander"})
    assert api.get("auditor", "/v1/posture").json()["posture"] == "restoring"
    assert next(d for d in api.get("auditor", "/v1/devices").json() if d["device"] == "fw-ext")["openings"][STAGE]


def test_the_plan_that_is_served_has_the_digest_that_is_voted_on(api: Api) -> None:
    from orchestrator.domain.plan import Plan

    api.post("eng-1", f"/v1/stages/{STAGE}/plan")
    served = api.get("auditor", f"/v1/stages/{STAGE}/plan").json()
    assert Plan.model_validate(served["plan"]).digest == served["digest"]


def test_the_log_is_read_page_by_page(api: Api) -> None:
    seen: list[int] = []
    after = -1
    while page := api.get("auditor", f"/v1/events?after={after}&limit=4").json()["events"]:
        seen += [event["seq"] for event in page]
        after = page[-1]["seq"]
    assert seen == list(range(len(seen)))
    assert len(seen) == api.reopening.log.head().size


# --- who ------------------------------------------------------------------------------------------------------------


def test_without_a_token_there_is_health_and_the_rules_and_nothing_else(api: Api) -> None:
    paths = api.http.get("/v1/openapi.json").json()["paths"]
    free = {"/v1/health", "/v1/rules", "/v1/rules/{rule}", "/v1/login", "/v1/login/challenge"}
    for path, verbs in paths.items():
        for verb in verbs:
            named = path.replace("{stage}", STAGE).replace("{rule}", "token")
            answer = api.http.request(verb, named, json={} if verb == "post" else None)
            if path in free:
                assert answer.status_code in (200, 422)
            else:
                assert_problem(answer, 401, "token")


def test_the_cut_off_is_not_offered_over_http(api: Api) -> None:
    assert api.post("commander", "/v1/cutoff").status_code == 404


@pytest.mark.parametrize(
    ("key", "namespace", "rule"),
    [("eng-2", "orchestrator-login@v1", "signature"), ("eng-1", "reconnect-approval@v1", "signature")],
)
def test_a_login_by_another_key_or_in_another_namespace(api: Api, key: str, namespace: str, rule: str) -> None:
    assert_problem(api.login("eng-1", key=key, namespace=namespace), 401, rule)


def test_a_challenge_serves_once_and_only_its_person(api: Api) -> None:
    from orchestrator.adapters import sshsig
    from tests.service.reopening import key_of

    challenge = api.http.post("/v1/login/challenge", json={"person": "eng-1"}).json()["challenge"]
    body = {
        "person": "eng-1",
        "challenge": challenge,
        "signature": sshsig.sign(key_of("eng-1"), "orchestrator-login@v1", challenge.encode()),
    }
    other = {**body, "person": "eng-2", "signature": sshsig.sign(key_of("eng-2"), "orchestrator-login@v1", challenge.encode())}
    assert_problem(api.http.post("/v1/login", json=other), 401, "challenge")
    assert api.http.post("/v1/login", json=body).is_success  # somebody else's try has not used it up
    assert_problem(api.http.post("/v1/login", json=body), 401, "challenge")


def test_challenges_and_tokens_run_out(api: Api) -> None:
    shown = api.get("eng-1", "/v1/whoami").json()
    assert (shown["person"], shown["roles"], shown["user_verified"]) == ("eng-1", ["network-engineer"], None)
    api.reopening.clock.wait(15 * 60)
    assert_problem(api.get("eng-1", "/v1/whoami"), 401, "token")


def test_a_challenge_tells_a_stranger_nothing_about_who_exists(api: Api) -> None:
    known = api.http.post("/v1/login/challenge", json={"person": "eng-1"})
    unknown = api.http.post("/v1/login/challenge", json={"person": "nobody"})
    assert known.status_code == unknown.status_code
    assert len(known.json()["challenge"]) == len(unknown.json()["challenge"].replace("nobody", "eng-1"))


def test_somebody_whom_the_next_policy_takes_out_has_no_rights_from_then_on(api: Api) -> None:
    assert api.get("eng-4", "/v1/stages").is_success
    policy = api.reopening.policy
    api.reopening.policy = policy.model_copy(update={"people": tuple(p for p in policy.people if p.name != "eng-4")})
    api.reopening.ratify()
    assert_problem(api.get("eng-4", "/v1/stages"), 403, "unknown-person")


ATTESTATION = {"partner": "sister", "state": "accepted", "document_sha256": DOCUMENT, "valid_until": "2027-01-01T00:00:00Z"}
REPORT = {"monitor": "detection", "since": "2026-06-23T00:00:00Z", "alerts": 0, "coverage": ["core"], "document_sha256": DOCUMENT}
WAIVER = {"stage": STAGE, "gate": "owner-named", "reason": "x", "accepted_risk": "y", "until": "2026-06-25T00:00:00Z"}
REQUESTS: dict[Verb, Callable[[Api, str], httpx.Response]] = {
    Verb.READ: lambda api, person: api.get(person, "/v1/stages"),
    Verb.PLAN: lambda api, person: api.post(person, f"/v1/stages/{STAGE}/plan"),
    Verb.VOTE: lambda api, person: api.vote(person, STAGE),
    Verb.APPLY: lambda api, person: api.post(person, f"/v1/stages/{STAGE}/apply"),
    Verb.CANCEL: lambda api, person: api.post(person, f"/v1/stages/{STAGE}/cancel", {"reason": "x"}),
    Verb.REVERT: lambda api, person: api.post(person, f"/v1/stages/{STAGE}/revert", {"reason": "x"}),
    Verb.EVIDENCE: lambda api, person: api.post(person, "/v1/evidence", {"kind": "cut-verified", "document_sha256": DOCUMENT}),
    Verb.ATTESTATION: lambda api, person: api.post(person, "/v1/attestations", ATTESTATION),
    Verb.PARTNER_READY: lambda api, person: api.post(person, "/v1/partners/ready", {"partner": "sister", "ready": True}),
    Verb.MONITOR_REPORT: lambda api, person: api.post(person, "/v1/monitor-reports", REPORT),
    Verb.CARE: lambda api, person: api.post(person, "/v1/care/probe"),
    Verb.WAIVER: lambda api, person: api.post(person, "/v1/waivers", WAIVER),
    Verb.WAIVER_END: lambda api, person: api.post(person, "/v1/waivers/W1/end", {"reason": "x"}),
    Verb.LOGBOOK: lambda api, person: api.post(person, "/v1/logbook", {"text": "decided to wait"}),
}


@pytest.mark.parametrize("role", list(PERSON_OF))
def test_every_role_with_every_verb(role: Role) -> None:
    with api_on(after_the_cut()) as api:
        api.post("eng-4", f"/v1/stages/{STAGE}/plan")
        person = PERSON_OF[role]
        for verb, ask in REQUESTS.items():
            answer = ask(api, person)
            if role in ROLES_OF[verb]:
                assert answer.status_code != 403 or answer.json()["rule"] != "role", (verb, answer.text)
            else:
                assert_problem(answer, 403, "role")


def test_the_auditor_changes_nothing() -> None:
    assert {verb for verb, roles in ROLES_OF.items() if Role.AUDITOR in roles} == {Verb.READ}
    assert not any(Role.PARTNER_CONTACT in roles for roles in ROLES_OF.values())


# --- what is refused ----------------------------------------------------------------------------------------------------


def test_refusals_name_their_rule(api: Api) -> None:
    assert_problem(api.post("eng-1", "/v1/stages/P4-images/plan"), 409, "predecessor-not-open")
    assert_problem(api.get("eng-1", f"/v1/stages/{STAGE}/plan"), 409, "no-plan")
    api.post("eng-1", f"/v1/stages/{STAGE}/plan")
    assert_problem(api.vote("eng-2", STAGE), 409, "gate-missing:cut-verified")
    api.reopening.evidence(STAGE)
    assert_problem(api.vote("eng-1", STAGE), 403, "proposer-cannot-vote")
    assert_problem(api.post("eng-1", f"/v1/stages/{STAGE}/apply"), 409, "votes-missing")
    assert_problem(api.get("eng-1", "/v1/stages/P9-nothing"), 404, "not-found")
    assert_problem(api.post("eng-1", f"/v1/stages/{STAGE}/revert", {"reason": ""}), 409, "illegal-transition")


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "cut-verified"},
        {"kind": "cut-verified", "document_sha256": "AB" * 32},
        {"kind": "cut-verified", "document_sha256": DOCUMENT, "unknown": 1},
        {"kind": 5, "document_sha256": DOCUMENT},
        [],
    ],
)
def test_a_body_that_is_not_exactly_what_is_asked_for(api: Api, body: object) -> None:
    answer = api.http.post("/v1/evidence", json=body, headers=api._as("rssi"))
    assert_problem(answer, 422, "bad-request")


def test_a_body_that_is_too_large_or_no_json(api: Api) -> None:
    assert_problem(api.post("rssi", "/v1/logbook", {"text": "x" * 70_000}), 413, "bad-request")
    answer = api.http.post("/v1/logbook", content=b"{", headers={**api._as("rssi"), "content-type": "application/json"})
    assert_problem(answer, 422, "bad-request")


def test_a_log_that_cannot_be_written(api: Api) -> None:
    api.get("rssi", "/v1/whoami")
    api.reopening.log.unavailable = "no space left on device"
    assert_problem(api.post("rssi", "/v1/logbook", {"text": "still here"}), 503, "unavailable")
    assert api.get("rssi", "/v1/stages").is_success


def test_answers_are_not_kept_by_anybody_on_the_way(api: Api) -> None:
    assert api.http.get("/v1/health").headers["cache-control"] == "no-store"


def test_the_server_takes_up_a_stage_that_was_running() -> None:
    reopening = after_the_cut(approved=STAGE)
    reopening.wait = lambda _seconds: reopening.stages.runner._stopping.set()
    reopening.stages = reopening.server()
    assert reopening.apply(STAGE).state == "observing"
    reopening.wait = None
    reopening.stages = reopening.server()
    with api_on(reopening) as api:
        assert api.get("auditor", f"/v1/stages/{STAGE}").is_success  # it answers once it has taken up what was running
        assert reopening.stages.runner.wait(20)
        assert api.get("auditor", f"/v1/stages/{STAGE}").json()["state"] == "open"


# --- documents ----------------------------------------------------------------------------------------------------------


def _rules_in_the_code() -> set[str]:
    """Every text that is given as `rule=` to a refusal, or as the rule of an unmet condition."""
    found = set()
    for path in Path("orchestrator").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "rule":
                first = node.value.values[0] if isinstance(node.value, ast.JoinedStr) else node.value
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(base(first.value))
    return found


def test_every_rule_of_the_code_is_explained() -> None:
    assert _rules_in_the_code() <= set(RULES)


def test_the_documentation_lists_every_rule_every_role_and_every_path(api: Api) -> None:
    text = Path("docs/api.md").read_text(encoding="utf-8")
    for rule, meaning in RULES.items():
        assert f'| <a id="{rule}"></a>`{rule}` | {meaning} |' in text
    for verb, roles in ROLES_OF.items():
        assert f"| `{verb}` | {', '.join(sorted(roles))} |" in text
    for path in api.http.get("/v1/openapi.json").json()["paths"]:
        assert path.replace("{stage}", "S") in text, path
