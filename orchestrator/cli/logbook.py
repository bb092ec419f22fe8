"""`orchestrator logbook add`: a free entry (*main courante*): a decision, an accepted risk, a communication."""

from __future__ import annotations

import argparse

from orchestrator.cli.evidence import adding, hand_in


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = subparsers.add_parser("logbook", help="write into the logbook", description=__doc__).add_subparsers(
        dest="logbook_verb", metavar="VERB", required=True
    )
    parser = adding(verbs, "add an entry")
    parser.add_argument("text")
    parser.add_argument("--stage", help="the stage that it is about")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    return hand_in(args, "/v1/logbook", {"text": args.text, "stage": args.stage}, "entered")
