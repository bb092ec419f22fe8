"""One partner is taken out of the mail of everybody on the real rehearsal hospital, with sessions under way, and addresses are
blocked with the server gone: what arrives is counted at the receivers.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.lab.hospital import Hospital
from tests.lab.cut_hospital import ROOT, CutHospital, together
from tests.lab.reachability import assert_answered, assert_silent
from tests.lab.story import Story, serving

pytestmark = pytest.mark.lab

LIFELINES, MAIL = "P0-lifelines", "P1-inbound-mail"
RELAY = ("203.0.113.22", 25)
OK = 0
# One session for as long as it lives, then a new one again and again: the times (monotonic, ns) at which bytes came back.
_TALK = """
import socket, sys, time
end, kept, renewed = time.monotonic() + float(sys.argv[3]), [], []
sock = None
def talk(sock, times):
    sock.sendall(b"x")
    if not sock.recv(64):
        raise OSError
    times.append(time.monotonic_ns())
try:
    sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1.0)
    while time.monotonic() < end:
        talk(sock, kept)
        time.sleep(0.05)
except OSError:
    pass
while time.monotonic() < end:
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=0.3) as again:
            talk(again, renewed)
    except OSError:
        pass
    time.sleep(0.05)
import json
print(json.dumps({"kept": kept, "renewed": renewed}))
"""


def talking(hospital: Hospital, node: str, seconds: float) -> subprocess.Popen[str]:
    command = [*hospital.entering(node), "python3", "-I", "-S", "-c", _TALK, RELAY[0], str(RELAY[1]), str(seconds)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> dict[str, list[int]]:
    output, _ = process.communicate(timeout=60)
    found: dict[str, list[int]] = json.loads(output)
    return found


@pytest.fixture(scope="module")
def story(unwritten: CutHospital) -> Iterator[Story]:
    policy = read_policy(ROOT / "policies" / "valmont", rehearsal=True).policy
    try:
        assert unwritten.cut("total", pack=unwritten.brief).code == OK
        with serving(unwritten, policy) as found:
            found.open(LIFELINES)
            found.open(MAIL)
            yield found
    finally:
        unwritten.lift()


def test_one_partner_is_out_of_the_mail_of_everybody_and_its_session_dies(unwritten: CutHospital, story: Story) -> None:
    hospital = unwritten.hospital
    assert_answered(hospital, "gp", [("tcp", *RELAY)])
    talks = {node: talking(hospital, node, 25.0) for node in ("gp", "internet-host")}
    try:
        time.sleep(2.0)
        answer = story.say("eng-1", "reisolate", "--partner", "gps", "--reason", "an indicator of compromise")
        closed_ns = time.monotonic_ns()
        heard = {node: told(process) for node, process in talks.items()}
    finally:
        for process in talks.values():
            process.kill()
            process.wait()
    assert (answer["done"], answer["leaks"], answer["owed"]) == (True, [], {}), answer
    assert answer["checked"] == "successful"
    assert {"stage": MAIL, "flow": "mail-in", "partner": "everyone", "where": "block list"} in answer["takes"]
    assert heard["gp"]["kept"], "it was under way"
    assert [at for at in (*heard["gp"]["kept"], *heard["gp"]["renewed"]) if at > closed_ns] == []
    assert len([at for at in heard["internet-host"]["kept"] if at > closed_ns]) > 20, "everybody else goes on, on the same session"
    epochs = together(lambda device: unwritten.observed(device).epoch, [device.name for device in hospital.site.devices])
    assert set(epochs.values()) == {answer["epoch"]}


def test_a_flow_is_closed_on_every_device_and_the_rest_of_its_stage_stays(unwritten: CutHospital, story: Story) -> None:
    record, core = [("tcp", "198.51.100.36", 443)], [("tcp", "198.51.100.40", 443)]
    together(lambda node: assert_answered(unwritten.hospital, node, record if node == "record" else core), ("record", "core1"))
    before = {name: unwritten.observed(name) for name in ("fw-ext", "fw-int")}
    answer = story.say("rssi", "reisolate", "--flow", "anssi-collection", "--reason", "their key has leaked")
    assert (answer["done"], answer["checked"], answer["leaks"]) == (True, "successful", [])
    assert answer["stages"][LIFELINES]["state"] == "partially-open"
    assert_silent(unwritten.hospital, "core1", core)
    assert_answered(unwritten.hospital, "record", record)
    for name, seen in before.items():
        after = unwritten.observed(name)
        assert set(after.opened) <= set(seen.opened)
        assert after.slots == seen.slots


def test_addresses_are_blocked_with_no_server_and_survive_a_second_cut_off(unwritten: CutHospital, story: Story) -> None:
    assert_answered(unwritten.hospital, "internet-host", [("tcp", *RELAY)])
    done = unwritten.run("block", "198.51.100.10", "198.51.100.99", "--reason", "beacons", "--here", "--json")
    assert done.returncode == OK, done.stdout + done.stderr
    assert_silent(unwritten.hospital, "internet-host", [("tcp", *RELAY)])
    states = {item["device"]: item["state"] for item in json.loads(done.stdout)["devices"]}
    assert {name for name, state in states.items() if state == "cannot"} == {"rtr-isp", "rtr-backup"}
    assert set(states.values()) == {"as listed", "cannot"}
    assert unwritten.cut("total", pack=unwritten.brief).code == OK
    blocked = {str(network) for network in unwritten.observed("fw-ext").blocked}
    assert {"198.51.100.10/32", "198.51.100.99/32", "198.51.100.20/32"} <= blocked
    assert story.say("rssi", "block", "list")["networks"]
