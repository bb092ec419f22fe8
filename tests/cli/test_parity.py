"""Every operation of the API has a command: each is started for real against a server that writes down what it is asked."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import pytest

from orchestrator.api.app import create_app
from orchestrator.cli import VERBS, exit_codes, main
from orchestrator.cli.completion import SHELLS
from tests.service.reopening import Reopening

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
WHY = "--reason", "because"
DATE = "2026-07-01T12:00:00Z"
ONLY_WITHOUT_A_SERVER = {"cutoff", "cut", "status", "probe", "lab", "policy", "audit", "serve", "demo", "completion"}

# Operation of the API → the command that asks for it. KEY and FILE stand for a private key and a file that are there.
COMMANDS: dict[str, tuple[str, ...]] = {
    "GET /v1/applications": ("site", "applications"),
    "GET /v1/attestations": ("attestation", "list"),
    "POST /v1/attestations": ("attestation", "add", "ght-1", "--refused", "--sha256", SHA),
    "GET /v1/blocks": ("block", "list"),
    "POST /v1/blocks": ("block", "192.0.2.1", *WHY),
    "GET /v1/blocks/removals": ("block", "list"),
    "POST /v1/blocks/removals": ("block", "remove", "192.0.2.1", *WHY),
    "POST /v1/blocks/removals/{id}/grant": ("block", "grant", "U1"),
    "GET /v1/care": ("care", "list"),
    "POST /v1/care/probe": ("care", "probe"),
    "GET /v1/checks": ("site", "checks"),
    "GET /v1/cutoffs": ("incident", "cuts"),
    "POST /v1/cutoffs": ("incident", "cut", *WHY),
    "POST /v1/cutoffs/{epoch}/contest": ("incident", "contest", "41", *WHY),
    "POST /v1/cutoffs/{epoch}/ratify": ("incident", "ratify", "41", *WHY),
    "GET /v1/delegations": ("delegation", "list"),
    "GET /v1/delegations/statement": ("delegation", "grant", "rssi", "--role", "director", *WHY, "--key", "KEY", "--yes"),
    "POST /v1/delegations": ("delegation", "grant", "rssi", "--role", "director", *WHY, "--key", "KEY", "--yes"),
    "POST /v1/delegations/{delegation}/revoke": ("delegation", "revoke", "D1", *WHY),
    "GET /v1/devices": ("site", "devices"),
    "GET /v1/devices/distrusted": ("device", "list"),
    "POST /v1/devices/{device}/distrust": ("device", "distrust", "fw-1", *WHY),
    "POST /v1/devices/{device}/trust": ("device", "trust", "fw-1", "--sha256", SHA, *WHY),
    "GET /v1/drift": ("drift",),
    "POST /v1/drift/accept": ("drift", "accept", "fw-1", "nat", *WHY),
    "POST /v1/drift/repair": ("drift", "--repair"),
    "GET /v1/events": ("site", "events"),
    "GET /v1/events/stream": ("watch",),
    "GET /v1/evidence": ("evidence", "list"),
    "POST /v1/evidence": ("evidence", "add", "portal-scanned", "--sha256", SHA),
    "GET /v1/extensions": ("site", "extensions"),
    "POST /v1/extensions/{extension_id}/grant": ("stage", "extend", "P1", "--grant", "E1"),
    "POST /v1/stages/{stage}/extensions": ("stage", "extend", "P1", "--until", DATE, *WHY),
    "POST /v1/false-alarm": ("false-alarm", *WHY),
    "GET /v1/flows": ("site", "flows"),
    "GET /v1/health": ("site", "health"),
    "GET /v1/incidents": ("incident", "list"),
    "POST /v1/incidents": ("incident", "declare", "2026-1", "--title", "it"),
    "GET /v1/incidents/{name}": ("incident", "show", "2026-1"),
    "GET /v1/lift": ("lift", "show"),
    "POST /v1/lift/accept": ("lift", "accept", "a", *WHY),
    "POST /v1/lift/withdraw": ("lift", "withdraw", "a", *WHY),
    "GET /v1/logbook": ("logbook", "list"),
    "POST /v1/logbook": ("logbook", "add", "text"),
    "POST /v1/login": ("login", "--as", "eng-1", "--key", "KEY"),
    "POST /v1/login/challenge": ("login", "--as", "eng-1", "--key", "KEY"),
    "GET /v1/manual-acts": ("device", "acts"),
    "POST /v1/manual-acts": ("device", "act", "fw-1", "pulled a cable", "--at", DATE),
    "GET /v1/monitor-reports": ("monitor", "list"),
    "POST /v1/monitor-reports": ("monitor", "report", "soc", "--since", DATE, "--alerts", "0", "--coverage", "core", "--sha256", SHA),
    "GET /v1/next": ("stage", "next"),
    "GET /v1/partners": ("site", "partners"),
    "GET /v1/partners/ready": ("partner", "list"),
    "POST /v1/partners/ready": ("partner", "ready", "ght-1"),
    "GET /v1/people": ("site", "people"),
    "GET /v1/people/changes": ("people", "changes"),
    "GET /v1/people/keys": ("people", "keys"),
    "GET /v1/people/statement": ("people", "statement", "add-key", "eng-1", *WHY),
    "POST /v1/logout": ("logout",),
    "POST /v1/people/changes": ("people", "submit", "FILE", "--signature", "FILE"),
    "POST /v1/people/changes/{change}/stop": ("people", "stop", "K1", *WHY),
    "POST /v1/people/{concerned}/keys/revoke": ("people", "revoke", "eng-1", "SHA256:x", *WHY),
    "POST /v1/people/{concerned}/sessions/revoke": ("people", "end-sessions", "eng-1", *WHY),
    "GET /v1/policy": ("site", "policy"),
    "GET /v1/posture": ("site", "posture"),
    "GET /v1/recuts": ("recut", "list"),
    "POST /v1/recuts": ("recut", "schedule", "--at", DATE, "--profile", "total", *WHY),
    "POST /v1/recuts/{recut_id}/cancel": ("recut", "cancel", "C1", *WHY),
    "GET /v1/reisolations": ("site", "reisolations"),
    "POST /v1/reisolations": ("reisolate", "--partner", "ght-1", *WHY),
    "GET /v1/reisolations/{id}": ("site", "reisolation", "R1"),
    "GET /v1/rules/{rule}": ("site", "rule", "token"),
    "GET /v1/rules": ("site", "rules"),
    "GET /v1/stages": ("stage", "list"),
    "GET /v1/stages/{stage}": ("stage", "show", "P1"),
    "POST /v1/stages/{stage}/apply": ("stage", "apply", "P1"),
    "POST /v1/stages/{stage}/cancel": ("stage", "cancel", "P1"),
    "POST /v1/stages/{stage}/defer": ("stage", "defer", "P1", *WHY),
    "GET /v1/stages/{stage}/difference": ("stage", "diff", "P1"),
    "GET /v1/stages/{stage}/plan": ("site", "plan", "P1"),
    "POST /v1/stages/{stage}/plan": ("stage", "plan", "P1"),
    "POST /v1/stages/{stage}/revert": ("stage", "revert", "P1"),
    "GET /v1/stages/{stage}/vote-statement": ("stage", "vote", "P1", "--key", "KEY", "--yes"),
    "POST /v1/stages/{stage}/votes": ("stage", "vote", "P1", "--key", "KEY", "--yes"),
    "POST /v1/stages/{stage}/witness-statement": ("check", "statement", "P1", "--partner", "ght-1", "--witness", "w"),
    "GET /v1/stages/{stage}/witnesses": ("check", "list", "P1"),
    "POST /v1/stages/{stage}/witnesses": ("check", "witness", "P1", "--statement", "FILE", "--signature", "FILE"),
    "GET /v1/votes": ("site", "votes"),
    "GET /v1/waivers": ("waiver", "list"),
    "POST /v1/waivers": ("waiver", "request", "P1", "gate", *WHY, "--risk", "none", "--until", DATE),
    "POST /v1/waivers/{waiver}/end": ("waiver", "end", "W1"),
    "POST /v1/waivers/{waiver}/grant": ("waiver", "grant", "W1"),
    "GET /v1/whoami": ("whoami",),
}
ANSWERED = ("/login/challenge", "/vote-statement", "/delegations/statement", "/people/statement")


def operations() -> set[str]:
    described: dict[str, Any] = create_app(Reopening().stages).openapi()
    return {f"{method.upper()} {path}" for path, methods in described["paths"].items() for method in methods}


class Asked(BaseHTTPRequestHandler):
    """Answers what a further request is made of, and refuses the rest."""

    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer()

    def _answer(self) -> None:
        body: object
        path = self.path.partition("?")[0]
        self.server.asked.append((self.command, path))  # type: ignore[attr-defined]
        if path.endswith(ANSWERED):
            status, body = 200, {"challenge": "text", "statement": "text"}
        elif path == "/v1/extensions":
            status, body = 200, []
        elif path in ("/v1/stages/P1", "/v1/blocks"):
            status, body = 200, {"plan": None, "networks": [], "blocks": [], "devices": []}
        else:
            status, body = 404, {"detail": "not here", "rule": "not-found", "advice": ""}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_arguments: object) -> None:
        pass

    def address_string(self) -> str:
        return "a socket"


class Recorder(ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.asked: list[tuple[str, str]] = []
        super().__init__(str(path), Asked)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    (tokens / "eng-1").write_text("token")
    monkeypatch.setenv("ORCHESTRATOR_STATE", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    (tmp_path / "FILE").write_text("{}")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "KEY")], check=True)
    with Recorder(tmp_path / "api.sock") as recorder:
        thread = threading.Thread(target=recorder.serve_forever, daemon=True)
        thread.start()
        yield recorder
        recorder.shutdown()
        thread.join(10)


def test_every_operation_has_a_command() -> None:
    assert operations() - set(COMMANDS) == set()


@pytest.mark.parametrize("operation", sorted(name for name, words in COMMANDS.items() if words[0] in VERBS))
def test_the_command_asks_for_its_operation_and_speaks_json(operation: str, server: Recorder, tmp_path: Path) -> None:
    words = [str(tmp_path / word) if word in ("KEY", "FILE") else word for word in COMMANDS[operation]]
    main([*words, "--json"])
    method, _, path = operation.partition(" ")
    wanted = path.split("/")
    fitting = [
        asked
        for verb, asked in server.asked
        if verb == method
        and len(asked.split("/")) == len(wanted)
        and all(part.startswith("{") or part == given for part, given in zip(wanted, asked.split("/"), strict=True))
    ]
    assert fitting, f"{' '.join(words)} asked for {server.asked}"


def test_every_verb_asks_the_server_or_says_that_it_needs_none() -> None:
    assert set(VERBS) - {words[0] for words in COMMANDS.values()} == ONLY_WITHOUT_A_SERVER


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_every_verb(shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["completion", shell]) == exit_codes.OK
    script = capsys.readouterr().out
    assert [verb for verb in VERBS if verb not in script] == []
    assert "--although-vital" in script
    if shell == "bash":
        file = tmp_path / "completion"
        file.write_text(script)
        words = "COMP_WORDS=(orchestrator incident de); COMP_CWORD=2; COMP_LINE='orchestrator incident de'; COMP_POINT=24"
        function = "$(complete -p orchestrator | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
        run = f"source {file}; {words}; {function} orchestrator de incident; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(["bash", "-c", run], capture_output=True, text=True, check=False)
        assert done.stdout.split() == ["declare"], done.stderr


def test_the_exit_codes_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    codes = {name: value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    for name, code in codes.items():
        assert f"| {code} | `{name}` |" in page
