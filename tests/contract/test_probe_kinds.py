"""TLS with the certificate's name, DNS with refusal and tunnelling, HTTP status: asked over SSH of the lab's own responder.

Vantage point and responder share a network namespace of their own; the vantage point is reached by a real sshd.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from orchestrator.adapters.netmiko_devices import NetmikoDevices
from orchestrator.adapters.ssh_probes import SshProbes
from orchestrator.domain.probes import Check, Probe, ProbeResult, Purpose
from orchestrator.lab import responder
from orchestrator.ports import Credential, Target
from tests.contract.ssh_servers import SshServers
from tests.lab.small_device import Machine, eventually

pytestmark = pytest.mark.lab
GOOD, EXPIRED, HTTP, DNS, NOTHING = 8443, 8444, 8080, 5353, 9999
NAME, INSIDE, OUTSIDE = "portal.valmont.example", "record.valmont.example", "outside.example"


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Valmont test authority")])
        certificate = self._builder(self._name, self._key, 3650).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.pem = certificate.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def certificate(self, *names: str, days: int) -> str:
        """Certificate and key, PEM; valid from a year ago until so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        signed = self._builder(subject, key, days).add_extension(alternative, critical=False).sign(self._key, hashes.SHA256())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return (signed.public_bytes(Encoding.PEM) + private).decode()

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=365))
            .not_valid_after(now + timedelta(days=days))
        )  # fmt: skip


@dataclass(frozen=True)
class Bench:
    probes: SshProbes
    authority: Authority
    other: Authority
    machine: Machine
    sessions: NetmikoDevices
    target: Target

    def ask(self, kind: Any, port: int | None, **more: Any) -> ProbeResult:
        given = {"id": kind, "purpose": Purpose.POSITIVE, "vantage": "here", "destination": ip_address("127.0.0.1"), **more}
        (result,) = self.probes.run([Probe(kind=kind, port=port, **given)], deadline_s=20)
        return result


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("probes")
    servers, machines = SshServers(directory), []
    try:
        machine = Machine("flt-vantage", private=("/run", "/mnt"))
        machines.append(machine)
        authority, other = Authority(), Authority()
        machine.run("cat > /mnt/responder.py", Path(responder.__file__).read_text())
        machine.run("cat > /mnt/good.pem", authority.certificate(NAME, "www.valmont.example", days=30))
        machine.run("cat > /mnt/expired.pem", authority.certificate(NAME, days=-1))
        common = {"addresses": ["127.0.0.1"], "names": {INSIDE: "10.20.21.10"}, "forwards": []}
        plans = [
            {"node": "good", "services": [["tls", GOOD], ["http", HTTP], ["dns", DNS]], "certificate": "/mnt/good.pem", **common},
            {"node": "expired", "services": [["tls", EXPIRED]], "certificate": "/mnt/expired.pem", **common},
            {"node": "leaking", "services": [["dns", DNS]], **common, "addresses": ["127.0.0.2"], "forwards": [OUTSIDE]},
        ]
        for plan in plans:
            machine.run("rm -f /run/responder.*")
            machine.run(f"cat > /mnt/{plan['node']}.json", json.dumps(plan))
            machine.run(f"setsid python3 -I -S /mnt/responder.py /mnt/{plan['node']}.json > /dev/null 2>&1 < /dev/null &")
            assert eventually(lambda: machine.try_run("test -e /run/responder.ready").returncode == 0)
        enter = directory / "enter"
        enter.write_text(f'#!/bin/sh\nexec nsenter -t {machine.holder} -n -m -p -- sh -c "$SSH_ORIGINAL_COMMAND"\n')
        enter.chmod(0o755)
        sessions = NetmikoDevices({Credential.CUT: servers.client_key})
        target = servers.start(force_command=str(enter))
        yield Bench(SshProbes(sessions, {"here": target}), authority, other, machine, sessions, target)
    finally:
        servers.stop()
        for made in machines:
            made.close()


def test_a_certificate_is_held_against_name_time_and_authority(bench: Bench) -> None:
    ours, other = bench.authority.pem, bench.other.pem
    good = bench.ask("tls", GOOD, name=NAME, ca=ours)
    assert good.check is Check.SUCCESSFUL
    assert good.detail.startswith(f"certificate for {NAME}, www.valmont.example, until ")
    misnamed = bench.ask("tls", GOOD, name="elsewhere.example", ca=ours)
    assert misnamed.check is Check.FAILED
    assert "elsewhere.example" in misnamed.detail
    assert misnamed.detail.endswith(f"it is for {NAME}, www.valmont.example")
    expired = bench.ask("tls", EXPIRED, name=NAME, ca=ours)
    assert (expired.check, expired.detail) == (Check.FAILED, f"certificate has expired; it is for {NAME}")
    for trusted in (other, ""):  # another authority; or whom this machine trusts, which ours is not among
        stranger = bench.ask("tls", GOOD, name=NAME, ca=trusted)
        assert stranger.check is Check.FAILED
        assert stranger.detail.startswith("certificate signature failure" if trusted else "unable to get local issuer certificate")
    plain = bench.ask("tls", HTTP, name=NAME, ca=ours)
    assert (plain.check, plain.detail) == (Check.FAILED, "no answer within 1 s"), "a web server waits for the end of the request"
    assert bench.ask("tls", NOTHING, name=NAME, ca=ours).detail == "connection refused"
    assert bench.ask("tls", GOOD, name=NAME, ca="not a certificate").check is Check.INCONCLUSIVE


def test_a_name_resolves_or_is_refused_and_silence_is_no_refusal(bench: Bench) -> None:
    assert bench.ask("dns", DNS, name=INSIDE).detail == "answered, 1 records"
    unknown = bench.ask("dns", DNS, name=OUTSIDE)
    assert (unknown.check, unknown.detail) == (Check.FAILED, "refused")
    assert bench.ask("dns", DNS, name=INSIDE, record="AAAA").check is Check.FAILED
    assert bench.ask("dns", DNS, name=OUTSIDE, dns="refused").check is Check.SUCCESSFUL
    assert bench.ask("dns", DNS, name=INSIDE, dns="refused").detail == "not refused: answered"
    assert bench.ask("dns", NOTHING, name=OUTSIDE, dns="refused").check is Check.FAILED
    assert bench.ask("dns", NOTHING, name=INSIDE).check is Check.FAILED


def test_a_random_name_outside_must_not_get_through_the_inside_resolver(bench: Bench) -> None:
    closed = bench.ask("dns", DNS, name=OUTSIDE, dns="tunnels", purpose=Purpose.NEGATIVE)
    assert (closed.check, closed.detail) == (Check.SUCCESSFUL, "the query did not leave: refused")
    leaking = bench.ask("dns", DNS, name=OUTSIDE, dns="tunnels", purpose=Purpose.NEGATIVE, destination=ip_address("127.0.0.2"))
    assert (leaking.check, leaking.detail) == (Check.FAILED, "the query left: answered")


def test_a_dns_server_that_lies_about_the_question_or_talks_nonsense_answers_nothing(bench: Bench) -> None:
    nonsense = (
        "import socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 5400)); print('up', flush=True)\n"
        "five = b'\\x81\\x80\\0\\1\\0\\5\\0\\0\\0\\0'\n"
        "for make in (lambda d: b'x', lambda d: b'zz' + d[2:], lambda d: d[:2] + five + d[12:] + b'\\xc0'):\n"
        "    data, peer = s.recvfrom(512); s.sendto(make(data), peer)\n"
    )
    bench.machine.run("cat > /mnt/nonsense.py", nonsense)
    bench.machine.run("setsid python3 -I /mnt/nonsense.py > /run/nonsense.log 2>&1 < /dev/null &")
    assert eventually(lambda: "up" in bench.machine.run("cat /run/nonsense.log"))
    details = [bench.ask("dns", 5400, name=INSIDE) for _ in range(3)]
    assert [one.check for one in details] == [Check.FAILED] * 3
    assert [one.detail for one in details] == [*["the answer is not one to this question"] * 2, "the answer is cut short"]


def test_the_status_that_is_expected_counts(bench: Bench) -> None:
    assert bench.ask("http", HTTP, path="/elsewhere", status=404).check is Check.SUCCESSFUL
    assert bench.ask("http", HTTP, path="/record/42", status=401).detail == "status 401"
    refused = bench.ask("http", HTTP, path="/", status=403)
    assert (refused.check, refused.detail) == (Check.FAILED, "status 200")


def test_what_should_not_pass_got_through_whatever_it_then_said(bench: Bench) -> None:
    """A wrong certificate, another status or a refusal by name would else look like a cut."""
    for kind, port, more in (
        ("tls", GOOD, {"name": "elsewhere.example", "ca": bench.authority.pem}), ("http", HTTP, {"path": "/elsewhere"}),
        ("transaction", HTTP, {"path": "/record/43"}), ("dns", DNS, {"name": OUTSIDE}),
    ):  # fmt: skip
        through = bench.ask(kind, port, purpose=Purpose.NEGATIVE, **more)
        assert (through.passed, through.check) == (True, Check.FAILED), (kind, through.detail)
        stopped = bench.ask(kind, NOTHING, purpose=Purpose.NEGATIVE, **more)
        assert (stopped.passed, stopped.check) == (False, Check.SUCCESSFUL), (kind, stopped.detail)


def test_a_probe_says_what_its_kind_needs() -> None:
    given = {"id": "x", "purpose": "positive", "vantage": "here", "destination": "127.0.0.1"}
    for wrong in (
        {"kind": "tls", "port": 443}, {"kind": "dns", "name": INSIDE}, {"kind": "dns", "port": 53, "name": "a..b"},
        {"kind": "dns", "port": 53, "name": "x" * 64}, {"kind": "tls", "port": 443, "name": "a b"},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            Probe.model_validate({**given, **wrong})
    assert Probe.model_validate({**given, "kind": "dns", "port": 53, "name": "_sip._tcp.a-b.example."}).dns == "resolves"


def test_whom_to_trust_is_read_from_a_file_at_each_run(bench: Bench, tmp_path: Path) -> None:
    """The plan carries no certificate: the probing host is told at run time, and a probe that names its own authority keeps it."""
    file = tmp_path / "probe-authorities.pem"
    trusting = replace(bench, probes=SshProbes(bench.sessions, {"here": bench.target}, authorities=file))
    assert trusting.ask("tls", GOOD, name=NAME).check is Check.FAILED, "no file yet: nobody here knows the authority"
    file.write_text(bench.authority.pem)
    assert trusting.ask("tls", GOOD, name=NAME).check is Check.SUCCESSFUL
    assert trusting.ask("tls", GOOD, name=NAME, ca=bench.other.pem).check is Check.FAILED
    for damaged in ("", "no certificate", "é"):
        file.write_text(damaged)
        answer = trusting.ask("tls", GOOD, name=NAME)
        assert (answer.check, answer.detail) == (Check.INCONCLUSIVE, "ValueError: the authority's certificate cannot be read")
