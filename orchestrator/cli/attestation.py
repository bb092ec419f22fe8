"""`orchestrator attestation add`: a partner's attestation of remediation, accepted or refused."""

from __future__ import annotations

import argparse

from orchestrator.cli.evidence import adding, digest_of, document, hand_in, in_days


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = subparsers.add_parser("attestation", help="record a partner's attestation", description=__doc__).add_subparsers(
        dest="attestation_verb", metavar="VERB", required=True
    )
    parser = adding(verbs, "record that a partner's attestation is accepted or refused")
    parser.add_argument("partner")
    decision = parser.add_mutually_exclusive_group(required=True)
    decision.add_argument("--accepted", action="store_true")
    decision.add_argument("--refused", action="store_true")
    parser.add_argument("--days", type=int, default=30, metavar="N", help="valid for that many days (default 30)")
    document(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    body = {"partner": args.partner, "accepted": args.accepted, "valid_until": in_days(args.days), "note": args.note}
    word = "accepted" if args.accepted else "refused"
    return hand_in(args, "/v1/attestations", {**body, "document_sha256": digest_of(args)}, f"{args.partner}: attestation {word}")
