"""Services as the policy writes them: `tcp/443`, `udp/500`, `tcp/8000-8010`, `esp`, `icmp`, `icmpv6`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from orchestrator.domain.network import Model

ESP = 50
WORDS = r"^((tcp|udp)/\d{1,5}(-\d{1,5})?|icmp|icmpv6|esp)$"


class FlowService(Model):
    """`tcp/443`, `udp/500`, `tcp/8000-8010`, `esp`, `icmp`: protocol (IANA number) and destination ports."""

    protocol: int
    ports: tuple[int, int] | None = None


def _service(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(tcp|udp)/([0-9]{1,5})(?:-([0-9]{1,5}))?", value)
    if match:
        low, high = int(match[2]), int(match[3] or match[2])
        if not 1 <= low <= high <= 65535:
            raise ValueError(f"{value!r}: ports are 1 to 65535, the lower one first")
        return {"protocol": 6 if match[1] == "tcp" else 17, "ports": (low, high)}
    numbers = {"icmp": 1, "esp": ESP, "icmpv6": 58}
    if value in numbers:
        return {"protocol": numbers[value]}
    raise ValueError(f"{value!r} is no service: write tcp/443, udp/500, tcp/8000-8010, esp, icmp or icmpv6")


ServiceText = Annotated[
    FlowService,
    BeforeValidator(_service),
    WithJsonSchema({"type": "string", "pattern": WORDS, "examples": ["tcp/443", "udp/500", "tcp/8000-8010", "esp"]}),
]
