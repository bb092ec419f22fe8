"""Sessions on a device that are held up: stopped with the whole command in hand, or killed once it is done.

A program of the device is covered by one of the same name that stops itself (SIGSTOP) before it becomes the real one; its
arguments and its standard input are the late command. Needs `/usr/local/sbin` among the private directories of the machine.
"""

from __future__ import annotations

import subprocess
from types import TracebackType

from orchestrator.dialects.base import Script
from tests.lab.small_device import Machine, eventually

_COVER = """\
#!/bin/sh
case "$*" in
    {pattern}) if rm /run/freeze 2> /dev/null; then echo $$ > /run/frozen.new; mv /run/frozen.new /run/frozen; kill -STOP $$; fi ;;
esac
exec {real} "$@"
"""
_SEARCH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Held:
    """A session that runs one script and is stopped when it comes to `program` with words that match `pattern` (of `case`)."""

    def __init__(self, machine: Machine, script: Script, program: str, pattern: str = "*", **values: int) -> None:
        self._machine = machine
        real = machine.run(f"PATH=/usr/sbin:/usr/bin:/sbin:/bin command -v {program}").strip()
        cover = self._cover = f"/usr/local/sbin/{program}"
        machine.run(f"cat > {cover}.new && chmod 755 {cover}.new && mv {cover}.new {cover}", _COVER.format(pattern=pattern, real=real))
        machine.run(": > /run/freeze; rm -f /run/frozen")
        filled = script.filled(**values)
        # Its own process group: a stopped orphan would be woken by its parent's death.
        self._process = subprocess.Popen(
            machine.command("setsid", "-w", "sh", "-c", f"{_SEARCH}; export PATH; {filled.command}"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(filled.text)
        self._process.stdin.close()
        self._process.stdin = None
        assert eventually(lambda: machine.try_run("test -e /run/frozen").returncode == 0), "it never came to that program"
        self.pid = int(machine.run("cat /run/frozen"))

    def __enter__(self) -> Held:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._machine.try_run(f"kill -CONT {self.pid}; kill -9 {self.pid}")
            self._process.kill()
        self._process.communicate(timeout=20)
        self._machine.try_run(f"rm -f {self._cover} /run/freeze")

    def ended(self) -> bool:
        """Whether somebody has ended it already."""
        return self._machine.try_run(f"kill -0 {self.pid}").returncode != 0

    def released(self) -> tuple[int, str]:
        """Lets it go on; its exit status and what it said."""
        self._machine.try_run(f"kill -CONT {self.pid}")
        said, _ = self._process.communicate(timeout=30)
        return self._process.returncode, said


def then_killed(machine: Machine, script: Script, **values: int) -> None:
    """A session runs the script to its end, and is killed where it stands, with all that is left of it (SIGKILL)."""
    filled = script.filled(**values)
    words = f"{_SEARCH}; export PATH; {filled.command}; echo did $? $$; exec sleep 600"
    with subprocess.Popen(
        machine.command("setsid", "-w", "sh", "-c", words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write(filled.text)
        session.stdin.close()
        _, status, pid = next(line for line in session.stdout if line.startswith("did ")).split()
        machine.run(f"kill -9 -{pid}")
        session.kill()
    assert status == "0"
