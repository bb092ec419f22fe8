"""What a server does by itself goes on, whatever one of its chores meets."""

from __future__ import annotations

import threading

from orchestrator.errors import LogUnavailable
from orchestrator.service.chores import Chores


def test_a_log_that_cannot_be_asked_how_often_ends_no_other_chore_and_not_this_one_for_good() -> None:
    done: list[str] = []
    outage = [True]

    def how_often() -> float:
        if outage:
            raise LogUnavailable("the log cannot be read")
        return 1.0

    chores = Chores(threading.Event())
    chores.add("drift", how_often, lambda: done.append("drift"))
    chores.add("renew deadlines", 1.0, lambda: done.append("renewed"))
    chores.turn(10.0)
    assert done == ["renewed"]
    assert "the log cannot be read" in chores.all[0].failure
    outage.clear()
    chores.turn(20.0)
    assert done == ["renewed", "drift", "renewed"]
    assert chores.all[0].failure == ""


def test_what_a_chore_raises_ends_no_other() -> None:
    done: list[str] = []
    chores = Chores(threading.Event())
    chores.add("fails", 1.0, lambda: 1 / 0)
    chores.add("works", 1.0, lambda: done.append("worked"))
    assert chores.turn(10.0) == ("fails", "works")
    assert chores.turn(10.5) == ()
    assert chores.turn(12.0) == ("fails", "works")
    assert done == ["worked", "worked"]
    assert chores.all[0].failure.startswith("ZeroDivisionError")
