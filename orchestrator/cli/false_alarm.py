"""`orchestrator false-alarm`: say that the last cut-off was one. It opens nothing: `stage plan resume` and its votes follow."""

from __future__ import annotations

import argparse

from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.exit_codes import OK


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("false-alarm", help="say that the last cut-off was a false alarm", description=__doc__)
    parser.add_argument("--reason", required=True, metavar="TEXT", help="how you know")
    parser.add_argument("--since", type=int, metavar="EPOCH", help="this cut-off and all that followed it (default: the last one alone)")
    add_options(parser)
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    body = {"reason": arguments.reason, **({"since": arguments.since} if arguments.since is not None else {})}
    answer = Client(arguments).post("/v1/false-alarm", body)
    resume = answer["resume"]
    lines = [f"recorded: the cut-off of epoch {answer['last']} was a false alarm, said by {answer['by']}"]
    if resume is None:
        lines.append("nothing was open when it came: there is nothing to resume")
    else:
        lines += [f"not resumed as it was, but planned and voted on anew: {text}" for text in resume["left_out"]]
    if resume is not None and resume["stages"]:
        lines += [
            f"was open: {', '.join(resume['stages'])}; can be resumed until {resume['until']}",
            "  → orchestrator stage plan resume",
        ]
    show(arguments, answer, "\n".join(lines))
    return OK
