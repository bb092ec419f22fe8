"""Asks, from inside a node of the rehearsal hospital, whether something answers. One process for many questions."""

from __future__ import annotations

import json
from collections.abc import Iterable

from orchestrator.lab.hospital import Hospital

Question = tuple[str, str, int]  # "tcp" or "udp", address, port

_ASK = """
import concurrent.futures, json, socket, sys
def ask(question):
    kind, address, port = question
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as sock:
        sock.settimeout(float(sys.argv[1]))
        try:
            sock.connect((address, port))
            sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            return bool(sock.recv(64))
        except OSError:
            return False
questions = json.load(sys.stdin)
with concurrent.futures.ThreadPoolExecutor(40) as pool:
    print(json.dumps(list(pool.map(ask, questions))))
"""


def answers(hospital: Hospital, node: str, questions: Iterable[Question], *, timeout_s: float = 2.0) -> dict[Question, bool]:
    """Question → whether something answered with data."""
    asked = list(questions)
    argv = ["python3", "-I", "-S", "-c", _ASK, str(timeout_s)]
    done = hospital.exec(node, argv, stdin=json.dumps(asked), timeout=30 + timeout_s * len(asked))
    assert done.returncode == 0, done.stderr
    return dict(zip(asked, json.loads(done.stdout), strict=True))


def unanswered(hospital: Hospital, node: str, questions: Iterable[Question]) -> list[Question]:
    """The questions that nothing answered."""
    return [question for question, answered in answers(hospital, node, questions).items() if not answered]
