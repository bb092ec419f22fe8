"""The HTTP client behind the verbs: where the server is, who asks, and problems as our errors again."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from orchestrator.domain.plain_text import shown
from orchestrator.errors import (
    EnvironmentMissing,
    InputError,
    NotAllowed,
    NotAuthenticated,
    OrchestratorError,
    Refused,
    Stale,
    TooMany,
    UnknownName,
    UsageError,
)
from orchestrator.settings import state_directory

TIMEOUT_S = 60.0
_AGAIN_AFTER_S = (0.3, 1.0, 3.0)  # a write whose answer was lost: its key keeps it from being done twice
_OPEN = ("/v1/login", "/v1/health", "/v1/rules")  # without a token
Json = dict[str, Any]
_REFUSALS: dict[int, type[Refused]] = {401: NotAuthenticated, 403: NotAllowed, 409: Refused, 412: Stale, 429: TooMany}
_INPUTS: dict[int, type[InputError]] = {400: UsageError, 404: UnknownName, 413: UsageError, 422: UsageError}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every verb that asks the server."""
    parser.add_argument("--as", dest="person", metavar="PERSON", help="whose login to use (default: the only one there is)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", metavar="URL", help="the server (default: its Unix socket)")
    where.add_argument("--socket", type=Path, metavar="PATH", help="its Unix socket (default: api.sock in the state directory)")
    parser.add_argument("--json", action="store_true", help="the server's answer as JSON")


class Client:
    """One server, one person. Every call raises our errors: the problem's rule, detail and advice."""

    def __init__(self, arguments: argparse.Namespace, *, answers_within_s: float = TIMEOUT_S) -> None:
        socket = arguments.socket or state_directory().root / "api.sock"
        self._where = arguments.url or str(socket)
        transport = None if arguments.url else httpx.HTTPTransport(uds=str(socket))
        self._http = httpx.Client(base_url=arguments.url or "http://orchestrator", transport=transport, timeout=answers_within_s)
        self._wanted: str | None = arguments.person

    def get(self, path: str, **query: str | list[str]) -> Any:
        """What is there; of a list, all its pages."""
        answer = self._ask("GET", path, params=query)
        found = answer.json()
        while isinstance(found, list) and "next" in answer.links:
            answer = self._ask("GET", answer.links["next"]["url"])
            found += answer.json()
        return found

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Done once, also when its answer is lost on the way and it is sent again."""
        return self._ask("POST", path, json=body or {}, headers={"Idempotency-Key": str(uuid.uuid4())}).json()

    def _ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, **content: Any) -> httpx.Response:
        token = None if path.startswith(_OPEN) else self._token()
        sent = {**(headers or {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        for pause in (*_AGAIN_AFTER_S, None):
            try:
                answer = self._http.request(method, path, headers=sent, **content)
            except httpx.TransportError as failure:
                if pause is None or isinstance(failure, (httpx.ConnectError, httpx.TimeoutException, httpx.UnsupportedProtocol)):
                    raise EnvironmentMissing(f"no server answers on {self._where} ({failure})", advice="orchestrator serve") from failure
                time.sleep(pause)
                continue
            if answer.is_success:
                return answer
            raise _error(answer)
        raise AssertionError("the last try answers or raises")

    @contextmanager
    def stream(self, path: str, headers: dict[str, str], query: dict[str, str | list[str]]) -> Iterator[httpx.Response]:
        """An answer that goes on, for as long as the block lasts; what breaks off in it is EnvironmentMissing too."""
        try:
            with self._http.stream("GET", path, headers={"Authorization": f"Bearer {self._token()}", **headers}, params=query) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _error(answer)
                yield answer
        except httpx.TransportError as failure:
            raise EnvironmentMissing(f"no server answers on {self._where} ({failure})", advice="orchestrator serve") from failure

    # --- tokens ---------------------------------------------------------------------------------------------------

    def keep_token(self, person: str, token: str) -> None:
        """For the next commands of this user, readable by nobody else."""
        directory = _tokens()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = directory / f".{person}.{os.getpid()}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token)
        temporary.rename(directory / person)

    def forget_token(self, person: str) -> None:
        (_tokens() / person).unlink(missing_ok=True)

    def _token(self) -> str:
        directory = _tokens()
        people = sorted(path.name for path in directory.glob("[!.]*")) if directory.is_dir() else []
        if self._wanted is None and len(people) != 1:
            if people:
                raise UsageError("who are you?", advice=f"--as PERSON; logged in here: {', '.join(people)}")
            raise NotAuthenticated("nobody is logged in here", rule="token", advice="orchestrator login --as PERSON --key FILE")
        person = self._wanted or people[0]
        if person not in people:
            raise NotAuthenticated(f"{person} is not logged in here", rule="token", advice=f"orchestrator login --as {person} --key FILE")
        return (directory / person).read_text(encoding="ascii")


def _tokens() -> Path:
    """Per server: under the user's runtime directory, which a reboot empties, else in the state directory."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    root = state_directory().root
    if not runtime:
        return root / "tokens"
    return Path(runtime) / "orchestrator" / hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]


def _error(answer: httpx.Response) -> OrchestratorError:
    try:
        problem = json.loads(answer.text)
        detail, advice, rule = str(problem["detail"]), str(problem.get("advice", "")), str(problem.get("rule", ""))
    except (ValueError, KeyError, TypeError):
        return OrchestratorError(f"the server answered {answer.status_code}: {answer.text[:200]}")
    if kind := _REFUSALS.get(answer.status_code):
        return kind(f"{detail} [{rule}]", rule=rule, advice=advice)
    if input_kind := _INPUTS.get(answer.status_code):
        return input_kind(detail, advice=advice)
    return OrchestratorError(f"{detail} [{rule}]", advice=advice)


def show(arguments: argparse.Namespace, answer: Any, text: str) -> None:
    """The answer as JSON when asked for, else the text."""
    print(shown(json.dumps(answer, ensure_ascii=False) if arguments.json else text))
