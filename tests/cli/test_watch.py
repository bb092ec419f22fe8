"""`orchestrator watch` as people start it, against server processes that stop and come back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.api.state_directory import ROOT, StateOnDisk, cut_off_in

BAD_INPUT, REFUSED, ENVIRONMENT = 3, 4, 5


@contextmanager
def watching(state: StateOnDisk, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "orchestrator", "watch", "--as", "eng-1", *words]
    process = subprocess.Popen(command, cwd=ROOT, env=state.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_watch_outlives_its_server_and_misses_nothing(tmp_path: Path) -> None:
    state = cut_off_in(tmp_path, ("eng-1",))

    def write(text: str) -> None:
        done = state.orchestrator("logbook", "add", text, "--as", "eng-1")
        assert done.returncode == 0, done.stderr

    def log_in() -> None:
        assert state.orchestrator("login", "--as", "eng-1", "--key", str(state.keys / "eng-1")).returncode == 0

    key = ("--key", str(state.keys / "eng-1"))
    words = ("--after", "-1", "--type", "LogbookEntered", "--count", "3", "--json", *key)
    with ExitStack() as held:
        with state.serving():
            log_in()
            assert state.orchestrator("watch", "--as", "eng-1", "--after", "99999").returncode == BAD_INPUT
            shown = state.orchestrator("watch", "--as", "eng-1", "--after", "-1", "--type", "CutoffOrdered", "--count", "1")
            assert "!! CUT-OFF · COUPURE: CutoffOrdered by emergency" in shown.stdout
            process = held.enter_context(watching(state, *words))
            write("before")
            assert process.stdout is not None
            first = json.loads(process.stdout.readline())
        with state.serving():  # another one: it knows no token of the first, if those are not kept
            log_in()
            write("one")
            write("two")
            rest = [json.loads(line) for line in process.stdout]
            assert process.wait(60) == 0
    assert [event["body"]["text"] for event in (first, *rest)] == ["before", "one", "two"]
    assert first["seq"] < rest[0]["seq"] < rest[1]["seq"]


def test_a_watch_without_a_login_or_a_server_says_so(tmp_path: Path) -> None:
    state = cut_off_in(tmp_path, ("eng-1",))
    with state.serving():
        assert state.orchestrator("watch", "--as", "eng-1").returncode == REFUSED
        assert state.orchestrator("login", "--as", "eng-1", "--key", str(state.keys / "eng-1")).returncode == 0
        assert state.orchestrator("watch", "--count", "0").returncode == BAD_INPUT
        assert state.orchestrator("watch", "--type", "Nonsense").returncode == BAD_INPUT
    assert state.orchestrator("watch", "--as", "eng-1").returncode == ENVIRONMENT
