"""`orchestrator serve`: the HTTP API, by default on a Unix socket that only this machine's people can reach."""

from __future__ import annotations

import argparse
import ipaddress
import os
import signal
import socket
import stat
import sys
from pathlib import Path

from orchestrator.cli.exit_codes import OK
from orchestrator.errors import EnvironmentMissing, UsageError
from orchestrator.settings import state_directory

SOCKET_MODE = 0o660
GRACE_S = 5


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("serve", help="the HTTP API", description=__doc__)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--socket", type=Path, metavar="PATH", help="Unix socket (default: api.sock in the state directory)")
    where.add_argument("--listen", metavar="HOST:PORT", help="TCP instead; beyond loopback only with a certificate")
    parser.add_argument("--tls-certificate", type=Path, metavar="FILE", help="PEM chain, for --listen")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key")
    parser.add_argument("--name", default="", metavar="NAME", help="of this server, among those that share its log (default: the host's)")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    import uvicorn

    from orchestrator.api.app import create_app
    from orchestrator.api.serving import Server
    from orchestrator.wiring import reopening

    state = state_directory()
    tls = (arguments.tls_certificate, arguments.tls_key)
    if arguments.listen:
        host, port = listening(arguments.listen, tls=all(tls))
        made, where = _tcp(host, port), f"{'https' if all(tls) else 'http'}://{arguments.listen}"
    else:
        path = arguments.socket or state.root / "api.sock"
        if path.parent == state.root:
            state.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        require_directory(path)
        made, where = None, str(path)
    app = create_app(reopening(state, arguments.name))
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        limit_concurrency=256,
        h11_max_incomplete_event_size=32 * 1024,
        ssl_certfile=tls[0] and str(tls[0]),
        ssl_keyfile=tls[1] and str(tls[1]),
    )
    made = made or unix_socket(Path(where))  # last, since its appearing means: ready to be asked
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(OK))  # uvicorn raises it again when it has stopped: the rest is ours
    print(f"serving on {where}", flush=True)
    try:
        Server(config, app).run(sockets=[made])
    finally:
        made.close()
        if not arguments.listen:
            Path(where).unlink(missing_ok=True)
    return OK


def listening(text: str, *, tls: bool) -> tuple[str, int]:
    """Host and port of --listen. Raises UsageError for what is neither, or would show tokens to the network."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{text!r} is no HOST:PORT", advice="for example 127.0.0.1:8443 or [::1]:8443")
    host = host.strip("[]")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not tls:
        raise UsageError(
            f"refusing to listen on {host} without TLS: tokens and votes would cross the network in clear",
            advice="give --tls-certificate and --tls-key, or listen on 127.0.0.1, or use the Unix socket",
        )
    return host, int(port)


def _tcp(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128)
    except OSError as failure:
        raise EnvironmentMissing(f"cannot listen on {host} port {port}: {failure}", advice="is another server running?") from failure


def require_directory(socket_path: Path) -> None:
    """Raises UsageError for a socket in a directory that is not there: made silently, a slip in its name would hide the server."""
    if not socket_path.parent.is_dir():
        raise UsageError(f"{socket_path.parent}, the directory of the socket, is not there", advice="make it first, or correct --socket")


def unix_socket(path: Path) -> socket.socket:
    """A listening socket for the owner and its group only, from its first moment on. A dead server's is replaced."""
    require_directory(path)
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise UsageError(f"{path} is there and is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise EnvironmentMissing(f"a server answers on {path} already", advice="stop it first, or use another --socket")
        path.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 ^ SOCKET_MODE)
    try:
        made.bind(str(path))
    except OSError as failure:
        raise EnvironmentMissing(f"cannot listen on {path}: {failure}", advice="a socket's path has at most 107 characters") from failure
    finally:
        os.umask(before)
    made.listen(128)
    return made
