"""What every verb that talks to the server shares: the connection, who one is, and problems told as errors of ours.

Tokens lie in <state>/tokens/PERSON or $XDG_RUNTIME_DIR/orchestrator/PERSON, mode 0600; `--as` (or $ORCHESTRATOR_AS) says
whose is used, and may be left out when there is only one.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import httpx

from orchestrator.errors import EnvironmentMissing, InputError, NotAuthenticated, OrchestratorError, Refused, UsageError
from orchestrator.settings import state_directory

TIMEOUT_S = 60.0


def add_connection(parser: argparse.ArgumentParser) -> None:
    """The options of every verb that talks to the server."""
    parser.add_argument("--as", dest="person", default=os.environ.get("ORCHESTRATOR_AS"), metavar="PERSON", help="whose login to use")
    parser.add_argument("--url", default=os.environ.get("ORCHESTRATOR_URL"), help="server over the network (https://host:port)")
    parser.add_argument("--socket", type=Path, metavar="PATH", help="server's Unix socket (default <state>/api.sock)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


class Client:
    """One connection. Raises Refused (with the rule), InputError, NotAuthenticated, EnvironmentMissing."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._person: str | None = args.person
        socket = args.socket or state_directory().root / "api.sock"
        self._where = args.url or str(socket)
        transport = None if args.url else httpx.HTTPTransport(uds=str(socket))
        self._http = httpx.Client(base_url=args.url or "http://orchestrator", transport=transport, timeout=TIMEOUT_S)

    @property
    def person(self) -> str:
        """Whose login is used. Raises UsageError when it is not clear."""
        if self._person:
            return self._person
        known = sorted(path.name for path in _tokens().glob("*"))
        if len(known) == 1:
            return known[0]
        raise UsageError("who are you? several people are logged in here" if known else "nobody is logged in here", advice="--as PERSON")

    def get(self, path: str, **query: str) -> dict[str, Any]:
        return self._call("GET", path, params=query)

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._call("POST", path, json=body or {})

    def anonymous(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """A request without a token (the login itself)."""
        return self._answer(self._send("POST", path, json=body))

    def _call(self, method: str, path: str, **what: Any) -> dict[str, Any]:
        return self._answer(self._send(method, path, headers={"Authorization": f"Bearer {read_token(self.person)}"}, **what))

    def _send(self, method: str, path: str, **what: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **what)
        except httpx.HTTPError as error:
            raise EnvironmentMissing(f"no server answers at {self._where}: {error}", advice="start it: orchestrator serve") from error

    @staticmethod
    def _answer(response: httpx.Response) -> dict[str, Any]:
        if response.is_success:
            body: dict[str, Any] = response.json()
            return body
        raise _problem(response)


def _problem(response: httpx.Response) -> OrchestratorError:
    """RFC 9457 problem+json as one of our errors."""
    try:
        problem: dict[str, Any] = response.json()
    except ValueError:
        problem = {}
    message = str(problem.get("detail") or problem.get("title") or f"the server answered {response.status_code}")
    advice, rule = str(problem.get("advice") or ""), str(problem.get("rule") or "")
    if response.status_code == 401:
        return NotAuthenticated(message, rule=rule or "login", advice=advice or "orchestrator login --as PERSON --key FILE")
    if rule:
        return Refused(f"refused by {rule}: {message}", rule=rule, advice=advice)
    if response.status_code < 500:
        return InputError(message, advice=advice)
    return OrchestratorError(message, advice=advice or "see the server's own messages")


def _tokens() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    state = state_directory().root
    if os.access(state, os.W_OK) or not runtime:
        return state / "tokens"
    return Path(runtime) / "orchestrator"


def keep_token(person: str, token: str) -> Path:
    """Keeps it for the next command, readable by this account only."""
    folder = _tokens()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / person
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token)
    return path


def read_token(person: str) -> str:
    """Raises NotAuthenticated when that person has not logged in here."""
    try:
        return (_tokens() / Path(person).name).read_text(encoding="ascii").strip()
    except OSError as error:
        raise NotAuthenticated(
            f"{person} is not logged in here", rule="login", advice=f"orchestrator login --as {person} --key FILE"
        ) from error
