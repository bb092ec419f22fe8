"""`orchestrator policy`: its verbs, one module each, and the options that they share."""

from __future__ import annotations

import argparse
from pathlib import Path

from orchestrator.cli import policy_check, policy_diff, policy_explain, policy_graph, policy_ratify, policy_schema


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `policy` and its verbs."""
    policy = subparsers.add_parser("policy", help="check, ratify and show the policy")
    verbs = policy.add_subparsers(dest="policy_verb", metavar="VERB", required=True)
    policy_check.add_verb(verbs)
    policy_ratify.add_verb(verbs)
    policy_explain.add_verb(verbs)
    policy_graph.add_verb(verbs)
    policy_diff.add_verb(verbs)
    policy_schema.add_verb(verbs)


def add_sources(parser: argparse.ArgumentParser) -> None:
    """The options that say which files are meant."""
    parser.add_argument("--policy", type=Path, metavar="DIR", help="folder of the policy files (default $ORCHESTRATOR_POLICY)")
    parser.add_argument("--inventory", type=Path, metavar="FILE", help="the Ansible inventory (default $ORCHESTRATOR_INVENTORY)")
    parser.add_argument("--rehearsal", action="store_true", help="with the rehearsal overlay (rehearsal.yaml)")
