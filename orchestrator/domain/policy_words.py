"""The small words that every part of the policy is written with: durations, names of stages, roles, levels, titles."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from orchestrator.domain.network import Model

DURATION = r"^\d+\s*[smhd]$"
LONGEST_DAYS = 3650
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(value: Any) -> Any:
    if isinstance(value, str) and (match := re.fullmatch(r"([0-9]{1,12})\s*([smhd])", value)):
        seconds = int(match[1]) * _UNITS[match[2]]
        if seconds > LONGEST_DAYS * 86400:
            raise ValueError(f"a duration is at most {LONGEST_DAYS}d")
        return timedelta(seconds=seconds)
    if isinstance(value, timedelta):
        return value
    raise ValueError("a duration is a whole number and a unit: 90s, 15m, 24h or 7d")


def _whole_seconds(value: timedelta) -> str:
    """As JSON: the same notation, so that a policy read back from the log is the same policy."""
    return f"{int(value.total_seconds())}s"


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(_whole_seconds, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DURATION, "examples": ["90s", "15m", "24h", "7d"]}),
]


def _of_this_century(value: datetime) -> datetime:
    """Near its ends the calendar cannot be reckoned with; and a number is read as seconds since 1970."""
    if not 2000 <= value.year < 2100:
        raise ValueError(f"a date of the years 2000 to 2099 is expected, not {value.isoformat()}")
    return value


Moment = Annotated[AwareDatetime, AfterValidator(_of_this_century)]
StageName = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9-]{1,40}$")]


class Role(StrEnum):
    INCIDENT_COMMANDER = "incident-commander"
    NETWORK_ENGINEER = "network-engineer"
    SECURITY_OFFICER = "security-officer"
    APPLICATION_OWNER = "application-owner"
    DIRECTOR = "director"
    AUDITOR = "auditor"
    PARTNER_CONTACT = "partner-contact"


class Level(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    VITAL = "vital"


class Text(Model):
    """What people read, in both languages."""

    en: str
    """English."""
    fr: str
    """French."""
