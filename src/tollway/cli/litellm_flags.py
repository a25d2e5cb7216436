"""Flags that people bring along from LiteLLM and that Tollway has no use for: refused or left out, and why.

The flags that mean the same in both stand in `main.py`. Source of the list: `litellm --help`, version 1.106.2
(https://docs.litellm.ai/docs/proxy/cli, read November 2026).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tollway.cli.refusal import MISUSED, Refused

_UVICORN = "Tollway serves with uvicorn; leave the flag away (more processes: --num_workers)"
_CLOUD_IDENTITY = "Tollway signs in to PostgreSQL with DATABASE_URL alone: put a user and a password there"
_NO_KEYS_TYPED = "everyone on the machine can read a command line: set the provider's variable, such as OPENAI_API_KEY"

#: Starting without what these ask for would surprise, so they stop the start.
REFUSED = {
    "--run_gunicorn": _UVICORN,
    "--run_hypercorn": _UVICORN,
    "--run_granian": _UVICORN,
    "--granian_threads": _UVICORN,
    "--iam_token_db_auth": _CLOUD_IDENTITY,
    "--azure_postgresql_auth": _CLOUD_IDENTITY,
    "--add_key": _NO_KEYS_TYPED,
    "--save": "Tollway writes no configuration on its own: put the model into a config.yaml and start with --config",
    "--add_function_to_prompt": "Tollway sends tools as the provider's API takes them, never as text in the prompt",
    "--prometheus_metrics_port": "Tollway has no metrics for Prometheus yet: leave the flag away",
    "--reload": "code is not reloaded; a changed configuration is taken up on SIGHUP",
    "--setup": "type `tollway` alone in a folder without config.yaml: it asks three questions and writes one",
    "--test_async": "use --test",
    "--num_requests": "use --test: it sends one request",
}


class _LeftOut(NamedTuple):
    takes_value: bool
    sentence: str


_OWN_SCHEMA = "Tollway brings its own tables up to date at start"

#: These change nothing that would be missed, so the start goes on and says so.
LEFT_OUT = {
    "--use_queue": _LeftOut(False, "calls are always answered directly"),
    "--local": _LeftOut(False, "it does nothing in LiteLLM either"),
    "--use_prisma_db_push": _LeftOut(False, _OWN_SCHEMA),
    "--use_v2_migration_resolver": _LeftOut(False, _OWN_SCHEMA),
    "--use_legacy_migration_resolver": _LeftOut(False, _OWN_SCHEMA),
    "--timeout_worker_healthcheck": _LeftOut(
        True, "a worker that ends is started again at once; none is asked for its health"
    ),
}


def underscored(name: str) -> str:
    """`--num-workers` and `--num_workers` are one flag. Takes a name with or without its leading dashes."""
    dashes = len(name) - len(name.lstrip("-"))
    return name[:dashes] + name[dashes:].replace("-", "_")


def screen(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the arguments without the flags that are left out, and a sentence for each of those.

    Raises Refused (exit code 2) for a flag that stops the start. What follows a bare `--` is not looked at.
    """
    kept: list[str] = []
    warnings: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*kept, argument, *rest], warnings
        typed, equals, _value = argument.partition("=")
        name = underscored(typed)
        if name in REFUSED:
            raise Refused(f"{typed}: {REFUSED[name]}", exit_code=MISUSED)
        if name not in LEFT_OUT:
            kept.append(argument)
            continue
        left_out = LEFT_OUT[name]
        warnings.append(f"{typed} has no effect: {left_out.sentence}")
        if left_out.takes_value and not equals:
            next(rest, None)
    return kept, warnings
