"""What `orchestrator policy check` looks at, one concern per module; `orchestrator.domain.check` runs them all.

Every check is a generator of problems: `check(site, policy) -> Iterator[Problem]`. None of them reads a file.
"""
