"""Probes: one question asked on live traffic from a vantage point, and its answer."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from orchestrator.domain.address_text import KnownAddress
from orchestrator.domain.network import Model, Name, PortNumber


class Check(StrEnum):
    """The three outcomes of a check; `inconclusive` holds, it never opens (invariant 8)."""

    SUCCESSFUL = "successful"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class Purpose(StrEnum):
    POSITIVE = "positive"  # should pass
    NEGATIVE = "negative"  # should not pass
    CARE = "care"  # a care assertion: should pass, whatever else happens


class Probe(Model):
    """`kind` tcp: connect and read/echo a byte; udp: a datagram that must be echoed; icmp: echo request;
    http: GET `path`, expects status 200; transaction: log in, open a record / store and fetch an image (care assertions).
    """

    id: str
    purpose: Purpose
    vantage: Name
    destination: KnownAddress
    kind: Literal["tcp", "udp", "icmp", "http", "transaction"]
    port: PortNumber | None = None
    path: str = "/"
    source: KnownAddress | None = None  # to bind to, for a host with several addresses
    timeout_s: float = Field(default=1.0, gt=0, le=30)
    about: str = ""  # the flow, care assertion or exit that it tests
    exit: str | None = None

    @property
    def expects_pass(self) -> bool:
        return self.purpose is not Purpose.NEGATIVE


class ProbeResult(Model):
    """`passed`: whether traffic got through; None when nothing can be said (vantage point unreachable)."""

    probe: Probe
    passed: bool | None
    milliseconds: float
    detail: str = ""

    @property
    def check(self) -> Check:
        if self.passed is None:
            return Check.INCONCLUSIVE
        return Check.SUCCESSFUL if self.passed == self.probe.expects_pass else Check.FAILED
