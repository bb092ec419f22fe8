"""What a device answered, as events keep it: its end only, without secrets, and the SHA-256 of all of it."""

from __future__ import annotations

import hashlib

from orchestrator.domain.secrets_masked import Masking
from orchestrator.ports import Outcome

TAIL = 400  # characters of a text in an event
_LOOKED_AT = 32_768  # characters: the longest private key that may end in the tail begins in them


def answer_body(action: str, outcome: Outcome, masking: Masking) -> dict[str, object]:
    """Of DeviceChanged. Secrets go before the text is cut: the end of a line alone would not show that it is one."""
    printed = outcome.output.encode(errors="replace").decode()
    return {
        "action": action,
        "step": outcome.step.value,
        "detail": masking.text(outcome.detail[:_LOOKED_AT])[:TAIL],
        "output_sha256": hashlib.sha256(printed.encode()).hexdigest(),
        "output_tail": masking.text(printed[-_LOOKED_AT:])[-TAIL:],
        "took_ms": round(outcome.seconds * 1000),
    }
