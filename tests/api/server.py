"""The API on a real server in a thread, on the simulated hospital, with people who log in by signature."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from orchestrator.adapters import sshsig
from orchestrator.api.app import create_app
from orchestrator.api.serving import Server
from orchestrator.cli.serve import unix_socket
from orchestrator.domain.statement import NAMESPACE as VOTES
from orchestrator.ports import Volatile
from orchestrator.service.identity import NAMESPACE
from tests.api.described import the_description
from tests.service.reopening import Reopening, key_of

Json = Mapping[str, Any]


class Api:
    """`login` first; then `get` and `post` as that person. Answers are httpx responses."""

    def __init__(self, http: httpx.Client, reopening: Reopening, socket: str = "") -> None:
        self.http, self.reopening, self.socket = http, reopening, socket
        self.tokens: dict[str, str] = {}

    def login(self, person: str, *, key: str | None = None, namespace: str = NAMESPACE) -> httpx.Response:
        challenge = self.http.post("/v1/login/challenge", json={"person": person}).json()["challenge"]
        signature = sshsig.sign(key_of(key or person), namespace, challenge.encode())
        answer = self.http.post("/v1/login", json={"person": person, "challenge": challenge, "signature": signature})
        if answer.is_success:
            self.tokens[person] = answer.json()["token"]
        return answer

    def get(self, person: str, path: str) -> httpx.Response:
        return self.http.get(path, headers=self._as(person))

    def post(self, person: str, path: str, body: Json | None = None) -> httpx.Response:
        return self.http.post(path, headers=self._as(person), json=body or {})

    def vote(self, person: str, stage: str, choice: str = "approve", reason: str = "") -> httpx.Response:
        path = f"/v1/stages/{stage}"
        asked = self.http.get(f"{path}/vote-statement", params={"choice": choice, "reason": reason}, headers=self._as(person))
        statement = asked.json()["statement"]
        return self.post(
            person, f"{path}/votes", {"statement": statement, "signature": sshsig.sign(key_of(person), VOTES, statement.encode())}
        )

    def _as(self, person: str) -> dict[str, str]:
        if person not in self.tokens:
            assert self.login(person).is_success
        return {"Authorization": f"Bearer {self.tokens[person]}"}


@contextmanager
def api_on(reopening: Reopening, volatile: Volatile | None = None) -> Iterator[Api]:
    """A real server in a thread, on a Unix socket; `volatile` is where it keeps what may be lost."""
    if volatile is not None:
        object.__setattr__(reopening.stages.collaborators, "volatile", volatile)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "api.sock"
        listening = unix_socket(path)
        app = create_app(reopening.stages)
        server = Server(uvicorn.Config(app, log_level="critical", ws="none", timeout_graceful_shutdown=5), app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            with httpx.Client(base_url="http://orchestrator", transport=httpx.HTTPTransport(uds=str(path)), timeout=60) as http:
                http.event_hooks = {"response": [the_description().check]}
                yield Api(http, reopening, str(path))
        finally:
            server.should_exit = True
            thread.join(30)
            listening.close()
    assert not thread.is_alive()
