"""Asks, from inside a node of the rehearsal hospital, whether something answers. One process for many questions."""

from __future__ import annotations

import json
from collections.abc import Iterable

from orchestrator.lab.hospital import Hospital

Question = tuple[str, str, int]  # "tcp" or "udp", address, port

_ASK = """
import concurrent.futures, json, socket, sys, time
def ask(question):
    # Until the time is over, as an application does: a neighbour that is just being found again refuses at first.
    end = time.monotonic() + float(sys.argv[1])
    while (left := end - time.monotonic()) > 0:
        try:
            if once(question, min(left, 1.0)):
                return True
        except OSError:
            time.sleep(0.05)
    return False
def once(question, timeout):
    kind, address, port = question
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        sock.connect((address, port))
        sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        return bool(sock.recv(64))
questions = json.load(sys.stdin)
with concurrent.futures.ThreadPoolExecutor(40) as pool:
    print(json.dumps(list(pool.map(ask, questions))))
"""


def answers(hospital: Hospital, node: str, questions: Iterable[Question], *, timeout_s: float) -> dict[Question, bool]:
    """Question → whether something answered with data."""
    asked = list(questions)
    argv = ["python3", "-I", "-S", "-c", _ASK, str(timeout_s)]
    done = hospital.exec(node, argv, stdin=json.dumps(asked), timeout=30 + timeout_s * len(asked))
    assert done.returncode == 0, done.stderr
    return dict(zip(asked, json.loads(done.stdout), strict=True))


def assert_answered(hospital: Hospital, node: str, questions: Iterable[Question]) -> None:
    """Everything answers, within a time that forgives a neighbour or a route that is just being found again."""
    asked = answers(hospital, node, questions, timeout_s=8.0)
    assert [question for question, answered in asked.items() if not answered] == [], f"from {node}: no answer"


def assert_silent(hospital: Hospital, node: str, questions: Iterable[Question]) -> None:
    """Nothing answers."""
    asked = answers(hospital, node, questions, timeout_s=1.5)
    assert [question for question, answered in asked.items() if answered] == [], f"from {node}: an answer"
