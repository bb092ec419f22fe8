"""`orchestrator watch`: the log as it is written, one line an event, until Ctrl-C.

It comes back by itself after an interruption, to whichever server answers, and shows nothing twice and leaves nothing out. A
login lasts as long as its token; with --key it is renewed, and the key asked for its touch or passphrase again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx_sse

from orchestrator.cli.client import Client, Json, add_options
from orchestrator.cli.exit_codes import OK
from orchestrator.cli.login import log_in
from orchestrator.domain.events import EventType, from_exported
from orchestrator.domain.plain_text import shown
from orchestrator.errors import EnvironmentMissing, LogUnavailable, NotAllowed, NotAuthenticated, UsageError
from orchestrator.export.chronology import message

SILENCE_S = 30.0  # the server speaks every 10 s: after this it is gone
_WAITS_S = (0.5, 1.0, 2.0, 5.0, 10.0)
_LOUD = {
    EventType.CUTOFF_ORDERED: "CUT-OFF · COUPURE",
    EventType.CUTOFF_PARTIAL: "CUT-OFF IN PART · COUPURE PARTIELLE",
    EventType.CUTOFF_VERIFIED: "CUT OFF · COUPÉ",
    EventType.REISOLATION_ORDERED: "CLOSED AGAIN · REFERMÉ",
    EventType.DRIFT_DETECTED: "DRIFT · DÉRIVE",
    EventType.ACCESS_DENIED: "REFUSED · REFUSÉ",
    EventType.STAGE_FAILED: "FAILED · ÉCHEC",
    EventType.STAGE_OPENED: "OPEN · OUVERT",
    EventType.EXPIRY_WARNED: "ENDS SOON · ÉCHÉANCE PROCHE",
    EventType.EXPIRY_PASSED: "END PASSED · ÉCHÉANCE DÉPASSÉE",
    EventType.LAYER_LIFTED: "LIFTED · LEVÉ",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("watch", help="follow the log as it is written", description=__doc__)
    parser.add_argument("--after", type=int, metavar="SEQ", help="begin after this event (-1: with the first; default: now)")
    parser.add_argument("--type", action="append", choices=list(EventType), metavar="TYPE", help="of this type; may come again")
    parser.add_argument("--stage", metavar="STAGE")
    parser.add_argument("--device", metavar="DEVICE")
    parser.add_argument("--actor", metavar="PERSON")
    parser.add_argument("--count", type=int, metavar="N", help="end after so many")
    parser.add_argument("--key", type=Path, metavar="FILE", help="log in again with this key when the login is over; needs --as")
    add_options(parser)
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.key is not None and not arguments.person:
        raise UsageError("who are you?", advice="--key goes with --as PERSON")
    if arguments.count is not None and arguments.count < 1:
        raise UsageError("--count is at least 1")
    _Watch(arguments, Client(arguments, answers_within_s=SILENCE_S)).follow()
    return OK


@dataclass
class _Watch:
    arguments: argparse.Namespace
    client: Client
    last: str = ""  # the id of the last event that was seen
    left: int = sys.maxsize
    failures: int = 0  # one after the other
    over: bool = False  # the login

    def follow(self) -> None:
        """Until there were enough events. Raises what cannot be helped by coming back: refusals, wrong names, and at first a
        server that does not answer."""
        self.left = self.arguments.count or sys.maxsize
        while self.left:
            try:
                if self.over:
                    log_in(self.client, self.arguments.person, self.arguments.key)
                self._stream()
            except NotAuthenticated:
                if self.arguments.key is None or self.over:
                    raise
                self.over = True
            except (EnvironmentMissing, LogUnavailable) as failure:
                if not self.last:
                    raise
                print(shown(f"watch: {failure.args[0]}; trying again · nouvel essai"), file=sys.stderr, flush=True)
            if self.left:
                time.sleep(_WAITS_S[min(self.failures, len(_WAITS_S) - 1)])
                self.failures += 1

    def _stream(self) -> None:
        given = self.arguments
        asked = {"type": given.type, "stage": given.stage, "device": given.device, "actor": given.actor, "after": given.after}
        query: dict[str, str | list[str]] = {name: value for name, value in asked.items() if value is not None}
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": self.last} if self.last else {})}
        with self.client.stream("/v1/events/stream", headers, query) as answer:
            for event in httpx_sse.EventSource(answer).iter_sse():
                self.failures, self.over = 0, event.event == "end" and self.over
                self.last = event.id or self.last
                if event.event == "end":
                    raise _ended(json.loads(event.data))
                if event.data:
                    self._show(event.data)
                    self.left -= 1
                if not self.left:
                    return

    def _show(self, data: str) -> None:
        print(shown(data if self.arguments.json else line(data)), flush=True)


def line(data: str) -> str:
    """One event for a person: number, UTC time, what it is; loud where somebody must know, in both languages."""
    event = from_exported(data)
    loud = _LOUD.get(event.type)
    return f"{event.seq:6d}  {event.at}  {f'!! {loud}: ' if loud else ''}{message(event)}"


def _ended(why: Json) -> Exception:
    """What the server says at the end of a stream, as the error that it is."""
    detail, advice, rule = str(why["detail"]), str(why["advice"]), str(why["rule"])
    if rule == "unavailable":
        return LogUnavailable(detail, advice=advice)
    kind = NotAuthenticated if rule == "token" else NotAllowed
    return kind(f"{detail} [{rule}]", rule=rule, advice=advice)
