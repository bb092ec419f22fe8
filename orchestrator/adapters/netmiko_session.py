"""One SSH session to one device through Netmiko: shell scripts on exec channels, `cli` scripts on a terminal.

Netmiko is made for terminals: its `linux` driver would type a long nft text into a PTY and guess at prompts. Here
the driver's connection is kept (keys, pinned host key, time-outs) and a shell script runs on an exec channel with the
text as standard input: its exit status is the device's answer. Vendor command lines have no exec channel; they are
driven by Netmiko's own driver on the same connection.

Importing this module imports Netmiko (0.3 s): `netmiko_devices` does so only when there is something to run.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any, NoReturn

import paramiko
from netmiko.channel import SSHChannel
from netmiko.cisco.cisco_ios import CiscoIosSSH
from netmiko.exceptions import ConfigInvalidException, NetmikoBaseException, NetmikoTimeoutException, ReadException
from netmiko.linux.linux_ssh import LinuxSSH

from orchestrator.adapters.device_words import LOST, MOST_OUTPUT_BYTES, NO_ANSWER, last_line, told, too_much
from orchestrator.dialects.base import Script
from orchestrator.errors import DeviceRefused, DeviceUnknown
from orchestrator.ports import Target

# Netmiko does not raise on a line that the device did not understand.
CLI_ERRORS = r"^(?:% .*|VTY configuration is locked.*|.*[Ii]nvalid input.*)$"
# curve25519 and AES are the cheapest on both ends; the rest is what the device may fall back to.
FIRST_KEX = ("curve25519-sha256@libssh.org",)
FIRST_CIPHERS = ("aes128-gcm@openssh.com", "aes128-ctr")


class _ExecLinux(LinuxSSH):
    """Netmiko's `linux` driver without a terminal: it connects, and leaves the channels to the caller."""

    connect: Callable[[dict[str, Any]], paramiko.SSHClient]

    def establish_connection(self, width: int = 511, height: int = 1000) -> None:  # noqa: ARG002 (there is no terminal)
        self.remote_conn_pre = self.connect(self._connect_params_dict())

    def _try_session_preparation(self, force_data: bool = True) -> None:
        """Nothing to prepare: there is no prompt to look for."""


class _SharedCiscoIos(CiscoIosSSH):
    """Netmiko's `cisco_ios` driver on a connection that is already open (FRR's vtysh speaks its language)."""

    client: paramiko.SSHClient

    def establish_connection(self, width: int = 511, height: int = 1000) -> None:
        self.remote_conn_pre = self.client
        self.remote_conn = self.client.invoke_shell(term="vt100", width=width, height=height)
        self.channel = SSHChannel(conn=self.remote_conn, encoding=self.encoding)

    def session_preparation(self) -> None:
        """Only the prompt: the terminal is wide already, and configuration lines print nothing to page through."""
        self.set_base_prompt()


class Session:
    """An open session. Every method raises DeviceRefused (the device said no) or DeviceUnknown (it did not answer).

    `expires` is a time of `time.monotonic()`: nothing waits beyond it. `close` may be called from another thread to
    end whatever is going on; it takes no time.
    """

    def __init__(self, target: Target, key: paramiko.PKey, *, expires: float) -> None:
        self._target, self._expires = target, expires
        self._client: paramiko.SSHClient | None = None
        self._cli: _SharedCiscoIos | None = None
        self._closed = False
        remaining = self._remaining()
        driver = _ExecLinux(
            device_type="linux", host=target.address, port=target.port, username=target.user, pkey=key, use_keys=False, allow_agent=False,
            ssh_strict=True, system_host_keys=False, alt_host_keys=False, ssh_config_file=None, conn_timeout=remaining,
            auth_timeout=remaining, banner_timeout=remaining, auto_connect=False,
        )  # fmt: skip
        driver.connect = self._connect
        try:
            driver._open()
        except Exception as failure:
            self.close()
            self._refuse(failure)

    def run(self, script: Script) -> str:
        """Runs one script to its end; returns everything that the device printed."""
        try:
            return self._configure(script) if script.kind == "cli" else self._execute(script)
        except (DeviceRefused, DeviceUnknown):
            raise
        except Exception as failure:
            self._refuse(failure)

    def close(self) -> None:
        """Ends the session at once: no farewell at a prompt, no wait for paramiko's reader."""
        self._closed = True
        transport = self._client.get_transport() if self._client is not None else None
        if transport is None:
            return
        # paramiko's reader looks up every 0.1 s; a socket that is shut wakes it now.
        with contextlib.suppress(OSError):  # the other end may have been faster
            transport.sock.shutdown(socket.SHUT_RDWR)
        transport.close()

    def _refuse(self, failure: Exception) -> NoReturn:
        """At the deadline, whatever the libraries stumble over then, it is the deadline."""
        try:
            refuse(failure)
        except DeviceUnknown:
            if time.monotonic() >= self._expires:
                raise DeviceUnknown(NO_ANSWER) from failure
            raise

    def _remaining(self) -> float:
        left = self._expires - time.monotonic()
        if left <= 0:
            raise _DeadlinePassed(NO_ANSWER)
        return left

    def _connect(self, parameters: dict[str, Any]) -> paramiko.SSHClient:
        client = self._client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        known = client.get_host_keys()
        host, port = self._target.address, self._target.port
        name = host if port == paramiko.config.SSH_PORT else f"[{host}]:{port}"
        for line in self._target.host_keys:
            kind, blob = line.split()[:2]
            try:
                known.add(name, kind, paramiko.PKey.from_type_string(kind, base64.b64decode(blob)))
            except (paramiko.SSHException, paramiko.UnknownKeyType, ValueError) as failure:
                raise DeviceRefused(f"its pinned host key cannot be read: {told(line)}") from failure
        client.connect(**parameters, channel_timeout=self._remaining(), transport_factory=_transport)
        if self._closed:
            self.close()
            raise DeviceUnknown(NO_ANSWER)
        return client

    def _execute(self, script: Script) -> str:
        transport = self._client.get_transport() if self._client is not None else None
        if transport is None:
            raise DeviceUnknown("the session is gone")
        channel = transport.open_session(timeout=self._remaining())
        channel.settimeout(self._remaining())
        channel.set_combine_stderr(True)
        try:
            channel.exec_command(script.command)
        except paramiko.SSHException as failure:
            if transport.is_active():
                raise DeviceRefused("the device runs no commands for this account") from failure
            raise
        printed: list[bytes] = []
        size = 0
        try:
            channel.sendall(script.text.encode())
            channel.shutdown_write()
        except OSError:
            # A command that exits without reading its input is no failure by itself: its status decides. But a full
            # window until the deadline is.
            self._remaining()
        try:
            while True:
                channel.settimeout(self._remaining())
                piece = channel.recv(65536)
                if not piece:
                    break
                printed.append(piece)
                size += len(piece)
                if size > MOST_OUTPUT_BYTES:
                    channel.close()
                    raise DeviceUnknown(too_much(MOST_OUTPUT_BYTES))
            # -1 until the device has said: a session lost midway leaves it there.
            channel.status_event.wait(self._remaining())
        except (OSError, _DeadlinePassed) as failure:
            raise DeviceUnknown(_with_output(NO_ANSWER, printed)) from failure
        if channel.exit_status == -1:
            raise DeviceUnknown(_with_output(LOST, printed))
        if channel.exit_status != 0:
            raise CommandFailed(channel.exit_status, _decoded(printed))
        return _decoded(printed)

    def _configure(self, script: Script) -> str:
        if self._cli is None:
            driver = _SharedCiscoIos(
                device_type="cisco_ios", host=self._target.address, fast_cli=True, auto_connect=False,
                read_timeout_override=self._remaining(),
            )  # fmt: skip
            if self._client is None:
                raise DeviceUnknown("the session is gone")
            driver.client = self._client
            driver._open()
            self._cli = driver
        lines = [line for line in script.text.splitlines() if line.strip()]
        self._cli.read_timeout_override = self._remaining()
        return self._cli.send_config_set(lines, error_pattern=CLI_ERRORS, cmd_verify=True)


class _DeadlinePassed(DeviceUnknown):
    """The end of the device's time."""


class CommandFailed(DeviceRefused):
    """The command ended with another exit status than 0."""

    def __init__(self, status: int, output: str) -> None:
        self.output = output
        super().__init__(f"exit status {status}: {last_line(output) or 'nothing was printed'}")


def refuse(failure: BaseException) -> NoReturn:
    """The one place where what Netmiko, paramiko and the socket raise becomes one of our errors."""
    cause = failure
    if isinstance(failure, NetmikoTimeoutException) and failure.__context__ is not None:
        cause = failure.__context__  # Netmiko wraps what paramiko said into a page of advice
    match cause:
        case DeviceRefused() | DeviceUnknown():
            raise cause
        case paramiko.BadHostKeyException():
            raise DeviceRefused("the host key is not the pinned one") from failure
        case paramiko.ssh_exception.IncompatiblePeer():
            raise DeviceRefused(f"no common algorithm: {told(str(cause))}") from failure
        case paramiko.AuthenticationException() if "timeout" in str(cause).lower():
            raise DeviceUnknown(NO_ANSWER) from failure
        case paramiko.AuthenticationException():
            raise DeviceRefused("authentication refused") from failure
        case paramiko.ssh_exception.NoValidConnectionsError():
            if any(isinstance(error, ConnectionRefusedError) for error in cause.errors.values()):
                raise DeviceRefused("connection refused") from failure
            raise DeviceUnknown("no route to the device") from failure
        case ConnectionRefusedError():
            raise DeviceRefused("connection refused") from failure
        case ConfigInvalidException():
            raise DeviceRefused(told(str(cause))) from failure
        case paramiko.SSHException() if "not found in known_hosts" in str(cause):
            raise DeviceRefused("no host key is pinned for this device") from failure
        case TimeoutError():
            raise DeviceUnknown(NO_ANSWER) from failure
        case ReadException():
            raise DeviceUnknown("no answer within the deadline, or the session was lost") from failure
        case OSError() | EOFError() | paramiko.SSHException() | NetmikoBaseException():
            raise DeviceUnknown(f"the session was lost: {told(str(cause)) or type(cause).__name__}") from failure
        case _:
            raise DeviceUnknown(f"unexpected: {type(cause).__name__}: {told(str(cause))}") from failure


def _transport(sock: socket.socket, **arguments: Any) -> paramiko.Transport:
    transport = paramiko.Transport(sock, **arguments)
    options = transport.get_security_options()
    options.kex = _first(FIRST_KEX, options.kex)
    options.ciphers = _first(FIRST_CIPHERS, options.ciphers)
    return transport


def _first(preferred: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in preferred if name in known) + tuple(name for name in known if name not in preferred)


def _decoded(pieces: list[bytes]) -> str:
    return b"".join(pieces).decode(errors="replace")


def _with_output(message: str, printed: list[bytes]) -> str:
    tail = told(_decoded(printed[-2:]))
    return f"{message}; it had printed: {tail}" if tail else message
