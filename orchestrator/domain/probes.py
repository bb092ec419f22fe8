"""Probes: one question asked on live traffic from a vantage point, and its answer."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, TypeAlias

from pydantic import Field, model_validator

from orchestrator.domain.address_text import KnownAddress
from orchestrator.domain.network import Model, Name, PortNumber

Kind: TypeAlias = Literal["tcp", "udp", "icmp", "http", "transaction", "tls", "dns"]
_LABEL = "[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"


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
    http: GET `path`, expects `status`; transaction: log in, open a record / store and fetch an image (care assertions);
    tls: a handshake in which the certificate is valid now and for `name`, by `ca` (PEM; empty: whom the vantage point trusts);
    dns: `name` is asked for, and `dns` says what counts as getting through:

    - `resolves`: an answer that has an address (or, for TXT, a text);
    - `refused`: a refusal by the server itself; silence is none;
    - `tunnels`: a random name under `name`, which lies outside, reaches whoever serves it: data can leave that way. The asked
      server's own word (a refusal, or an answer that it has the authority for) means that it did not.

    Of a negative probe, a connection that stands is asked for, or (dns) any answer: a page with another status or a wrong
    certificate got through as well. What `dns` says other than `resolves` is asked as it is.
    """

    id: str
    purpose: Purpose
    vantage: Name
    destination: KnownAddress
    kind: Kind
    port: PortNumber | None = None
    path: str = "/"
    source: KnownAddress | None = None  # to bind to, for a host with several addresses
    timeout_s: float = Field(default=1.0, gt=0, le=30)
    about: str = ""  # the flow, care assertion or exit that it tests
    exit: str | None = None
    status: int = Field(default=200, ge=100, le=599)
    name: str = Field(default="", pattern=rf"^({_LABEL}(\.{_LABEL})*\.?)?$", max_length=200)
    ca: str = Field(default="", max_length=100_000)
    dns: Literal["resolves", "refused", "tunnels"] = "resolves"
    record: Literal["A", "AAAA", "TXT"] = "A"

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Probe:
        if self.kind in ("tls", "dns") and not (self.name and self.port):
            raise ValueError(f"a {self.kind} probe needs a port, and the name that it is about")
        return self

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
