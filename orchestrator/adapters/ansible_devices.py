"""Devices over Ansible: firewalls in staged work, through ansible-runner and `playbooks/<verb>.yml`.

ansible-runner leaves processes behind whatever is done to its process group, hangs inside web servers, and writes
what it is given into its directory. So each run is

  1. a process of its own (`ansible_child.py`), never a thread of the caller;
  2. the first process of a PID namespace: when it ends, the kernel ends playbook, workers and ssh masters with it;
  3. bound to us by a pipe: it ends when we close it, when we die, however we die, and at the deadline. (A
     parent-death signal would do the same, but it is bound to the *thread* that started the process.)
  4. in a mount namespace where a tmpfs of mode 0700 hides /dev/shm: inventory, scripts and known hosts lie there,
     nobody else sees them, and they are gone with the namespace;
  5. without our environment: no secret of ours is there to be written, no ansible.cfg of the user counts;
  6. with an end of its own for each device, from the moment that Ansible begins with it: a sick one neither keeps its
     place among the forks nor uses up the others' time.

The private key stays where it is and is named by its path.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.adapters.device_turns import HELD, DeviceTurns
from orchestrator.adapters.device_words import LOST, NO_ANSWER, bounded, last_line, told, too_much
from orchestrator.dialects.base import Script
from orchestrator.errors import EnvironmentMissing, UnknownName
from orchestrator.ports import Credential, DeviceStep, Outcome, Target

DIRECTORY = "/dev/shm"
FORKS = 20
CONNECT_TIMEOUT_S = 10
DEVICE_DEADLINE_S = 30.0
MOST_OUTPUT_BYTES = 4 * 1024 * 1024  # Ansible carries 1 MB a second at best; whole read-backs go by Netmiko
END_GRACE_S = 2.0
DEVICE_GRACE_S = 2.0  # Ansible ends a script at the device's deadline by itself, and says so; this is for when it does not
NO_KEY = "no host key is pinned for this device"
WRONG_KEY = "the host key is not the pinned one"
# What ssh says when the device, or our own caution, answered no before anything ran.
REFUSALS = {
    "host key is known for": NO_KEY,
    "Host key verification failed": WRONG_KEY,
    "Permission denied": "authentication refused",
    "Connection refused": "connection refused",
}
# What ssh and Ansible say of a session that ended in the middle, and of a device that prints no text: what it did is not known.
LOSSES = {
    "could not be sent to remote host": LOST,
    "closed by remote host": LOST,
    "Connection reset": LOST,
    "Shared connection": LOST,
    "Broken pipe": LOST,
    "invalid UTF8": "it printed something that is no text",
    "timed out": NO_ANSWER,
}
_IN_PRIVATE = f'mount -t tmpfs -o mode=0700 containment {DIRECTORY} && exec "$@"'


class AnsibleDevices:
    """Implements `ports.Devices` for `shell` scripts; `cli` scripts are refused (no playbook can drive a terminal).

    `keys` are private key files, one per credential. `playbooks` is the directory of `<verb>.yml`. `python` is the
    interpreter on the devices: Ansible's modules need one. `device_deadline_s` is what one device has; whole seconds
    count for a single script. `turns` is shared with the other adapters of the process.
    """

    def __init__(
        self,
        keys: Mapping[Credential, Path],
        playbooks: Path,
        *,
        python: str = "/usr/bin/python3",
        device_deadline_s: float = DEVICE_DEADLINE_S,
        turns: DeviceTurns | None = None,
    ) -> None:
        self._keys = dict(keys)
        self._playbooks = playbooks.resolve()
        self._python = python
        self._device_deadline_s = device_deadline_s
        self._turns = turns or DeviceTurns()

    def run(
        self, scripts: Mapping[Target, Sequence[Script]], *, credential: Credential, deadline_s: float, verb: str
    ) -> Iterator[tuple[Outcome, ...]]:
        """See `ports.Devices.run`; `deadline_s` counts from this call, for every target alike.

        Raises UnknownName for a verb without a playbook, EnvironmentMissing when the key cannot be read or this
        machine gives no namespaces: those are no faults of a device.
        """
        started = time.monotonic()
        playbook = self._playbooks / f"{verb}.yml"
        if not playbook.is_file():
            raise UnknownName(f"there is no playbook {playbook}")
        key = self._keys.get(credential)
        if key is None or not os.access(key, os.R_OK):
            raise EnvironmentMissing(f"the {credential.value} key cannot be read: {key}", advice="check the path and its permissions")
        runnable = {target: tuple(listed) for target, listed in scripts.items() if listed and all(one.kind == "shell" for one in listed)}
        refused: list[tuple[Outcome, ...]] = [
            (Outcome(target.device, DeviceStep.REFUSED, "", 0.0, "Ansible runs shell scripts only; this one is for a command line"),)
            for target, listed in scripts.items()
            if listed and target not in runnable
        ]
        return self._in_turn(runnable, refused, playbook, (credential, key), started, started + deadline_s)

    def _in_turn(
        self, scripts: Mapping[Target, Sequence[Script]], refused: list[tuple[Outcome, ...]], playbook: Path,
        allowed: tuple[Credential, Path], started: float, expires: float,
    ) -> Iterator[tuple[Outcome, ...]]:  # fmt: skip
        """One playbook for all devices that are free; those that another session of ours holds follow in the next one."""
        credential, key = allowed
        yield from refused
        waiting = dict(scripts)
        while batch := self._turns.take(waiting, credential, since=started, expires=expires):
            held = {target.device: target for target in batch}
            try:
                for outcomes in self._play(batch, playbook, key, expires):
                    self._turns.leave(held.pop(outcomes[-1].device), credential)
                    yield outcomes
            finally:
                for target in held.values():
                    self._turns.leave(target, credential)
        for target in waiting:
            yield (Outcome(target.device, DeviceStep.UNKNOWN, "", time.monotonic() - started, HELD),)

    def _play(self, scripts: Mapping[Target, Sequence[Script]], playbook: Path, key: Path, expires: float) -> Iterator[tuple[Outcome, ...]]:
        started = time.monotonic()
        child = _Child(self._job(scripts, playbook, key, max(0.0, expires - started)), expires, self._device_deadline_s)
        try:
            yield from _Collecting(scripts, started).outcomes(child, expires, self._device_deadline_s)
        finally:
            child.end()

    def _job(self, scripts: Mapping[Target, Sequence[Script]], playbook: Path, key: Path, deadline_s: float) -> dict[str, Any]:
        hosts = {
            target.device: {
                "ansible_host": target.address, "ansible_port": target.port, "ansible_user": target.user,
                "ansible_ssh_private_key_file": str(key.resolve()), "ansible_python_interpreter": self._python,
                # A key is pinned to a device, not to an address that another device may have as well.
                "ansible_ssh_common_args": f"-o HostKeyAlias={target.device} -o ControlPath={DIRECTORY}/ssh-{target.device}",
            }
            for target in scripts
        }  # fmt: skip
        known = [f"{target.device} {' '.join(line.split()[:2])}" for target in scripts for line in target.host_keys]
        return {
            "directory": DIRECTORY,
            "playbook": str(playbook),
            "deadline_s": deadline_s,
            "forks": FORKS,
            "files": {
                "inventory.json": json.dumps({"all": {"hosts": hosts}}),
                "scripts.json": _as_variables(scripts),
                "known_hosts": "".join(f"{line}\n" for line in known),
                "ansible.cfg": "",
            },
        }


class _Child:
    """The process, its messages, its end."""

    def __init__(self, job: dict[str, Any], expires: float, device_deadline_s: float) -> None:
        self._expires = expires
        self._rest, self._began = b"", False
        user = [] if os.geteuid() == 0 else ["--user", "--map-current-user"]
        command = ["unshare", *user, "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _IN_PRIVATE, "sh"]
        command += [sys.executable, "-P", str(Path(__file__).with_name("ansible_child.py"))]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
                env=_environment(device_deadline_s), start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError as failure:
            raise EnvironmentMissing("unshare is not installed", advice="install util-linux") from failure
        assert self._process.stdin is not None
        content = json.dumps(job).encode()
        with contextlib.suppress(BrokenPipeError):  # it never started: `messages` says why
            self._process.stdin.write(b"%12d\n" % len(content) + content)
            self._process.stdin.flush()

    def said(self, until: float) -> list[dict[str, Any]] | None:
        """What the child has said meanwhile; nothing when `until` or the deadline passed; None when it has ended.
        Raises EnvironmentMissing when it never began."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        left = min(until, self._expires) - time.monotonic()
        if not select.select([descriptor], [], [], max(0.0, left))[0]:
            return []
        piece = os.read(descriptor, 1 << 20)
        if not piece:
            if not self._began:
                raise EnvironmentMissing(f"Ansible could not be started: {self._last_words()}", advice="namespaces need root")
            return None
        *lines, self._rest = (self._rest + piece).split(b"\n")
        self._began = self._began or bool(lines)
        return [json.loads(line) for line in lines]

    def end(self) -> None:
        """Nothing of it runs any more on return: the kernel empties the namespace before its first process is gone."""
        process = self._process
        with contextlib.suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]
        try:
            process.wait(END_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            stream.close()  # type: ignore[union-attr]

    def _last_words(self) -> str:
        assert self._process.stderr is not None
        ready, _, _ = select.select([self._process.stderr], [], [], 1.0)
        words = os.read(self._process.stderr.fileno(), 4000).decode(errors="replace").strip() if ready else ""
        return words.splitlines()[-1] if words else "it ended without a word"


class _Collecting:
    """What one playbook has answered so far, and who is still awaited until when."""

    def __init__(self, scripts: Mapping[Target, Sequence[Script]], started: float) -> None:
        self._awaited = {target.device: len(listed) for target, listed in scripts.items()}
        self._pinned = {target.device for target in scripts if target.host_keys}
        self._since = dict.fromkeys(self._awaited, started)
        self._ends: dict[str, float] = {}
        self._got: dict[str, list[Outcome]] = {device: [] for device in self._awaited}

    def outcomes(self, child: _Child, expires: float, device_deadline_s: float) -> Iterator[tuple[Outcome, ...]]:
        complete = False
        while self._awaited and time.monotonic() < expires:
            messages = child.said(min([expires, *(self._ends[device] for device in self._awaited if device in self._ends)]))
            if messages is None:
                break
            for message in messages:
                complete = complete or "stats" in message
                device = message.get("host", "")
                if device in self._awaited and "res" in message:
                    yield from self._answered(device, message["res"])
                elif device in self._awaited:
                    self._since[device] = time.monotonic()
                    self._ends[device] = self._since[device] + device_deadline_s + DEVICE_GRACE_S
            for device in [device for device in self._awaited if self._ends.get(device, expires) <= time.monotonic()]:
                yield self._silent(device, NO_ANSWER)
        # What has no result is unknown, whether the deadline passed or the last events of the playbook were lost.
        why = "Ansible ended without a result for it" if complete else "no answer within the deadline, or Ansible died"
        for device in list(self._awaited):
            yield self._silent(device, why)

    def _answered(self, device: str, result: Mapping[str, Any]) -> Iterator[tuple[Outcome, ...]]:
        now = time.monotonic()
        outcome = _outcome(device, result, now - self._since[device], pinned=device in self._pinned)
        self._since[device] = now
        self._got[device].append(outcome)
        if outcome.step is not DeviceStep.APPLIED or len(self._got[device]) == self._awaited[device]:
            del self._awaited[device]
            yield tuple(self._got[device])

    def _silent(self, device: str, why: str) -> tuple[Outcome, ...]:
        del self._awaited[device]
        return (*self._got[device], Outcome(device, DeviceStep.UNKNOWN, "", time.monotonic() - self._since[device], why))


def _outcome(device: str, result: Mapping[str, Any], seconds: float, *, pinned: bool) -> Outcome:
    """The one place where Ansible's result becomes ours. `changed` is not believed, only the exit status."""
    output = str(result.get("stdout", "")) + str(result.get("stderr", ""))
    message = str(result.get("msg", ""))
    if len(output) > MOST_OUTPUT_BYTES:
        return Outcome(device, DeviceStep.UNKNOWN, output[:MOST_OUTPUT_BYTES], seconds, too_much(MOST_OUTPUT_BYTES))
    if "timedout" in result:
        return Outcome(device, DeviceStep.UNKNOWN, output, seconds, NO_ANSWER)
    if result.get("unreachable"):
        for words, reason in REFUSALS.items():
            if words in message:
                return Outcome(device, DeviceStep.REFUSED, output, seconds, WRONG_KEY if reason == NO_KEY and pinned else reason)
        return Outcome(device, DeviceStep.UNKNOWN, output, seconds, _why(message) or "unreachable")
    status = result.get("rc")
    if status == 0 and not result.get("failed"):
        return Outcome(device, DeviceStep.APPLIED, output, seconds)
    if "cmd" in result and status is not None:
        return Outcome(device, DeviceStep.REFUSED, output, seconds, f"exit status {status}: {last_line(output) or 'nothing was printed'}")
    if status in (126, 127):  # the interpreter is missing, or the login runs no commands but its own: nothing has run
        return Outcome(device, DeviceStep.REFUSED, output, seconds, last_line(str(result.get("module_stderr", ""))) or told(message))
    return Outcome(device, DeviceStep.UNKNOWN, output, seconds, _why(message) or "Ansible failed without saying why")


def _why(message: str) -> str:
    return next((reason for words, reason in LOSSES.items() if words in message), last_line(message))


def _as_variables(scripts: Mapping[Target, Sequence[Script]]) -> str:
    """`scripts` for the playbook. Marked as unsafe, text stays text: it is not templated and "true" is no boolean."""
    texts = {
        target.device: [
            {"command": {"__ansible_unsafe": bounded(one.command, MOST_OUTPUT_BYTES)}, "text": {"__ansible_unsafe": one.text}}
            for one in listed
        ]
        for target, listed in scripts.items()
    }
    return json.dumps({"scripts": texts})


def _environment(device_deadline_s: float) -> dict[str, str]:
    """All that Ansible gets to see: nothing of ours, no configuration of the user's."""
    ssh = {
        "ControlMaster": "auto", "ControlPersist": "60s", "StrictHostKeyChecking": "yes", "UserKnownHostsFile": f"{DIRECTORY}/known_hosts",
        "GlobalKnownHostsFile": "/dev/null", "UpdateHostKeys": "no", "IdentitiesOnly": "yes", "IdentityAgent": "none", "BatchMode": "yes",
        "ServerAliveInterval": "5", "ServerAliveCountMax": "2",
    }  # fmt: skip
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": DIRECTORY,
        "TMPDIR": DIRECTORY,
        "LANG": "C.UTF-8",
        "ANSIBLE_CONFIG": f"{DIRECTORY}/ansible.cfg",
        "ANSIBLE_HOME": f"{DIRECTORY}/ansible",
        "ANSIBLE_LOCAL_TEMP": f"{DIRECTORY}/ansible-tmp",
        "ANSIBLE_INVENTORY_ENABLED": "yaml",
        "ANSIBLE_SSH_ARGS": " ".join(["-F /dev/null", *(f"-o {name}={value}" for name, value in ssh.items())]),
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_SSH_RETRIES": "0",
        "ANSIBLE_TIMEOUT": str(CONNECT_TIMEOUT_S),
        # ansible-runner empties a result of more than 700,000 characters; it holds the output twice, and its lines once more.
        "MAX_EVENT_RES": str(8 * MOST_OUTPUT_BYTES),
        "ANSIBLE_TASK_TIMEOUT": str(max(1, math.ceil(device_deadline_s))),
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_NOCOLOR": "True",
    }
