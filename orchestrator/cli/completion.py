"""`orchestrator completion bash|zsh|fish`: the completion script of every verb and option, for `source` or a completion directory.

    orchestrator completion bash > /etc/bash_completion.d/orchestrator
    orchestrator completion zsh  > /usr/local/share/zsh/site-functions/_orchestrator
    orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish

It is made once, from the verbs themselves: completing asks neither the server nor Python.
"""

from __future__ import annotations

import argparse

from orchestrator.cli.exit_codes import OK

SHELLS = ("bash", "zsh", "fish")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "completion", help="the shell's completion script", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    import shtab

    from orchestrator.cli import whole_parser

    print(shtab.complete(whole_parser(), shell=arguments.shell))
    return OK
