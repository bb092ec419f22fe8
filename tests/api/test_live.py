"""Server-sent events on a real server: resumed without loss, ended with the token, and bounded for whoever does not keep up."""

from __future__ import annotations

import copy
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice

import httpx
import httpx_sse
import pytest

from orchestrator.api import live, routes_live
from orchestrator.domain.events import EventType as E
from tests.api.server import Api, api_on
from tests.service.reopening import after_the_cut

P0 = "P0-lifelines"


@contextmanager
def stream(api: Api, person: str, query: str = "", last: str | None = None) -> Iterator[Iterator[httpx_sse.ServerSentEvent]]:
    """The events that carry data, as they come."""
    headers = api._as(person) | ({"Last-Event-ID": last} if last is not None else {})
    with httpx_sse.connect_sse(api.http, "GET", f"/v1/events/stream{query}", headers=headers) as source:
        assert source.response.status_code == 200, source.response.read()
        yield (event for event in source.iter_sse() if event.data)


def eventually(holds: Callable[[], bool]) -> bool:
    for _ in range(600):
        if holds():
            return True
        time.sleep(0.05)
    return False


def streams(api: Api) -> int:
    count: int = api.http.get("/v1/health").json()["streams"]
    return count


def test_what_happens_is_streamed_as_the_log_has_it() -> None:
    with api_on(after_the_cut()) as api:
        api.login("auditor")
        size = api.http.get("/v1/health").json()["log_size"]
        with stream(api, "auditor") as events:
            assert api.post("eng-1", "/v1/logbook", {"text": "one"}).status_code == 201
            found = [next(events)]
            while found[-1].event != E.LOGBOOK_ENTERED:  # the server has chores of its own, which may write in between
                found.append(next(events))
        assert found[0].event == E.SESSION_OPENED
        assert [int(event.id) for event in found] == list(range(size, size + len(found)))
        told = api.get("auditor", f"/v1/events?after={size - 1}&limit={len(found)}").json()["events"]
        assert [json.loads(event.data) for event in found] == told


def test_a_client_comes_back_and_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_live, "PAGE", 3)
    with api_on(after_the_cut()) as api:
        with stream(api, "auditor", "?after=-1") as events:
            first = list(islice(events, 3))
        assert [int(event.id) for event in first] == list(range(3))
        with stream(api, "auditor", "?after=-1", last=first[-1].id) as events:  # as a browser does: with the address that it had
            second = list(islice(events, 7))  # more than a page
        assert [int(event.id) for event in second] == list(range(3, 10))
        assert second[0].event == api.get("auditor", "/v1/events?after=2&limit=1").json()["events"][0]["type"]


def test_a_client_gets_what_it_asks_for_and_a_position_all_the_same() -> None:
    with api_on(after_the_cut()) as api:
        query = f"?after=-1&type={E.POLICY_RATIFIED}&type={E.LOGBOOK_ENTERED}&actor=eng-2"
        with stream(api, "auditor", query) as events:
            api.post("eng-1", "/v1/logbook", {"text": "somebody else's"})
            api.post("eng-2", "/v1/logbook", {"text": "about a stage", "stage": P0})
            event = next(events)
        assert json.loads(event.data)["body"]["text"] == "about a stage"
        same = api.get("auditor", f"/v1/events{query}&stage={P0}").json()["events"]
        assert [found["seq"] for found in same] == [int(event.id)]
        assert api.get("auditor", "/v1/events?type=NoSuchType").status_code == 422


@pytest.mark.parametrize("last", ["999999", "1e3", "-2", "+1", "١", "0x1", "9" * 400, "7, 8", ""])
def test_a_forged_position_is_refused(last: str) -> None:
    with api_on(after_the_cut()) as api:
        headers = {**api._as("auditor"), "Last-Event-ID": last.encode()}
        answer = api.http.get("/v1/events/stream", headers=headers)  # type: ignore[arg-type]
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        assert api.http.get("/v1/events/stream?after=999999", headers=api._as("auditor")).status_code == 400
        assert streams(api) == 0


def test_a_revoked_token_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_live, "CHECK_EVERY_S", 0.1)
    with api_on(after_the_cut()) as api:
        assert api.http.get("/v1/events/stream").status_code == 401
        with stream(api, "auditor", f"?type={E.LOGBOOK_ENTERED}") as events:
            api.reopening.clock.wait(16 * 60)  # a token's quarter of an hour
            end = next(events)
            assert list(events) == []
        assert (end.event, json.loads(end.data)["rule"]) == ("end", "token")
        assert eventually(lambda: streams(api) == 0)


def test_one_person_has_so_many_streams_and_others_have_theirs() -> None:
    with api_on(after_the_cut()) as api:
        api.login("auditor")
        with ExitStack() as held:
            for _ in range(live.PER_PERSON):
                held.enter_context(stream(api, "auditor"))
            refused = api.get("auditor", "/v1/events/stream")
            assert (refused.status_code, refused.json()["rule"]) == (429, "too-many-streams")
            with stream(api, "eng-1", "?after=-1") as events:
                assert next(events).id == "0"
        assert eventually(lambda: streams(api) == 0)


def test_who_does_not_read_is_left_and_keeps_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SEND_WITHIN_S", 0.5)
    with api_on(after_the_cut()) as api:
        token = api._as("auditor")["Authorization"]
        asleep = socket.socket(socket.AF_UNIX)
        asleep.connect(api.socket)
        asleep.sendall(f"GET /v1/events/stream?after=-1 HTTP/1.1\r\nHost: here\r\nAuthorization: {token}\r\n\r\n".encode())
        with asleep, stream(api, "auditor") as events:
            awake = Follower(events)
            assert eventually(lambda: streams(api) == 2)
            for number in range(150):  # what it has not read is more than any buffer holds
                assert api.post("eng-1", "/v1/logbook", {"text": f"{number} " + "x" * 3900}).status_code == 201
            assert eventually(lambda: awake.types.count(E.LOGBOOK_ENTERED) == 150)
            assert eventually(lambda: streams(api) == 1)
            assert eventually(lambda: at_its_end(asleep))


class Follower:
    """Reads in a thread of its own; `ended` when there is no more."""

    def __init__(self, events: Iterator[httpx_sse.ServerSentEvent]) -> None:
        self.types: list[str] = []
        self._events = events
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        with suppress(httpx.TransportError, httpx.StreamError):  # the test ends
            self.types.extend(event.event for event in self._events)
            self.types.append("the stream has ended")


def at_its_end(asleep: socket.socket) -> bool:
    """What was sent before can still be read; then there is nothing, for good."""
    asleep.settimeout(0.05)
    try:
        while asleep.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def test_a_server_that_stops_ends_its_streams_at_once() -> None:
    with ExitStack() as client:
        with api_on(after_the_cut()) as api:
            headers = api._as("auditor")
            http = client.enter_context(httpx.Client(transport=httpx.HTTPTransport(uds=api.socket), timeout=60))
            address = f"http://here/v1/events/stream?type={E.LOGBOOK_ENTERED}"
            source = client.enter_context(httpx_sse.connect_sse(http, "GET", address, headers=headers))
            follower = Follower(event for event in source.iter_sse() if event.data)
        follower.thread.join(10)
        assert follower.types == ["the stream has ended"]


def test_what_one_server_writes_the_other_streams() -> None:
    one = after_the_cut()
    two = copy.copy(one)
    two.stages = one.server("the other")
    with api_on(one) as here, api_on(two) as there:
        there.login("auditor")
        here.login("eng-1")
        with stream(there, "auditor", f"?type={E.LOGBOOK_ENTERED}") as events:
            here.post("eng-1", "/v1/logbook", {"text": "written here"})
            assert json.loads(next(events).data)["body"]["text"] == "written here"
