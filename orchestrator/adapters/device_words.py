"""What a device printed: how much of it is taken in, and how it is told to a person.

A device that is sick, or somebody else's by now, may print without end, in binary, or escape sequences that make a
terminal show something else.
"""

from __future__ import annotations

from orchestrator.domain.plain_text import shown

# 20,000 tracked connections (what the device-side scripts list at most) are 5 MB, a layer of 10,000 elements 3 MB.
MOST_OUTPUT_BYTES = 16 * 1024 * 1024
NO_ANSWER = "no answer within the deadline"
LOST = "the session was lost before the command had ended"
_LONGEST = 400


def told(text: str) -> str:
    """The end of what a device said, on one line, as any terminal shows it."""
    return shown(" ".join(text[-4 * _LONGEST :].split()))[-_LONGEST:]


def last_line(text: str) -> str:
    """The last line that says something, as `told`; empty when there is none."""
    lines = text[-8 * _LONGEST :].strip().splitlines()
    return told(lines[-1]) if lines else ""


def too_much(most_bytes: int) -> str:
    return f"it printed more than {most_bytes >> 20} MiB and was cut off"


def bounded(command: str, most_bytes: int) -> str:
    """The same shell command with its output, errors included, ended after one byte too many: for those who collect the
    output on the device. The exit status stays the command's own."""
    # 3 carries the exit status past `head`, 4 is the real output. The parentheses outlive an `exec` or `exit` of the command.
    return (
        "{ status=$( { { (\n" + command + "\n) 3>&- 4>&-; echo $? >&3; } 2>&1 "
        f"| head -c {most_bytes + 1} >&4; }} 3>&1 ); }} 4>&1; exit ${{status:-141}}"
    )
