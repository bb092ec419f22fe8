"""What devices print goes into events without their secrets, and what it says beside them stays."""

from __future__ import annotations

import pytest

from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.secrets_masked import LEFT_OUT, Masking

SECRET = "Tr0ub4dor&3-x9"
LINES = (
    f"enable secret 5 $1$mERr${SECRET}",
    f"enable password {SECRET}",
    f"username ops privilege 15 secret 9 $9${SECRET}",
    f"username ops password 7 {SECRET}",
    f"snmp-server community {SECRET} RO",
    f"snmp-server user ops admins v3 auth sha {SECRET} priv aes 128 {SECRET}",
    f"crypto isakmp key {SECRET} address 198.51.100.7",
    f"tacacs-server key 7 {SECRET}",
    f"radius server a\n key 7 {SECRET}",
    f" neighbor 192.0.2.1 password {SECRET}",
    f" ip ospf message-digest-key 1 md5 {SECRET}",
    f" ip ospf authentication-key {SECRET}",
    f" key-string 7 {SECRET}",
    f'192.0.2.1 : PSK "{SECRET}"',
    f"pre-shared-key ascii-text \"{SECRET}\"",
    f"set psksecret ENC {SECRET}",
    f"PrivateKey = {SECRET}",
    f"PresharedKey={SECRET}",
    f'{{"ansible_become_password": "{SECRET}", "port": 22}}',
    f"password: {SECRET}",
    f"wpa-psk '{SECRET}'",
    f"https://ops:{SECRET}@192.0.2.9/api",
    f"root:$6${SECRET}$abc:19000:0:99999:7:::",
    "auth-trunc hmac(sha256) 0x54723075623464 128",
    f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\nabcd\n-----END OPENSSH PRIVATE KEY-----",
    f"-----BEGIN RSA PRIVATE KEY-----\nMIIE{SECRET}\nabcd",
    "MIIEowIBAAKCAQEAx1Tr0ub4dor3x9x9x9x9\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----\nafterwards",
)  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_no_secret_of_a_configuration_is_left_and_once_is_enough(line: str) -> None:
    masked = Masking().text(line)
    assert SECRET not in masked
    assert "Tr0ub4dor" not in masked
    assert "0x547" not in masked
    assert LEFT_OUT in masked
    assert Masking().text(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "Error: Could not process rule: No such file or directory\n  element 198.51.100.7 . 10.20.11.10 . tcp . 443",
        "cookie=0x6e6f, duration=5.2s, table=3, n_packets=7, ip,nw_src=198.51.100.14 actions=resubmit(,4)",
        "refused: authentication refused",
        "the host key is not the pinned one",
        "% Unknown command: interface eth9",
        "sudo: a terminal is required",
        "fw-ext: still open: 198.51.100.20/32 → 10.20.11.20/32 protocol 6 443-443",
    ],
)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert Masking().text(text) == text


def test_what_surrounds_a_secret_stays() -> None:
    assert Masking().text(f"snmp-server community {SECRET} RO 99") == f"snmp-server community {LEFT_OUT} RO 99"
    assert Masking().text("a\nenable password x1 \nb") == f"a\nenable password {LEFT_OUT} \nb"


def test_a_known_value_goes_wherever_it_stands() -> None:
    assert Masking(("hunter2-hunter2",)).text("login as hunter2-hunter2 failed") == f"login as {LEFT_OUT} failed"
    assert Masking(("ab",)).text("about") == "about", "too short to be looked for"


def test_events_that_repeat_a_device_are_masked_to_their_depth_and_what_people_gave_is_not() -> None:
    body = {"differences": [f"foreign: enable secret 5 {SECRET}"], "step": "refused", "n": 4, "more": {"why": f"password {SECRET}"}}
    event = NewEvent(E.DEVICE_READ_BACK, "2026-06-24T08:00:00.000Z", "orchestrator", body, device="fw-ext")
    masked = Masking().event(event)
    assert SECRET not in str(masked)
    assert (masked.device, masked.body["step"], masked.body["n"]) == ("fw-ext", "refused", 4)
    theirs = NewEvent(E.LOGBOOK_ENTERED, event.at, "rssi", {"text": "the password was rotated"})
    assert Masking().event(theirs) is theirs
