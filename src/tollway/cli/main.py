"""The `tollway` command. Bare it serves; the commands of `commands.py`, `check` and `version` stand beside it.

Flags that LiteLLM has too are written as LiteLLM writes them and take the same environment variables; every flag may
also be written with dashes (`--num-workers`). Heavy rooms are imported by the command that needs them.
"""

from __future__ import annotations

import os
import sys
from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from tollway import __version__
from tollway.cli.commands import Commands
from tollway.cli.flags import Flags
from tollway.cli.litellm_flags import screen, underscored
from tollway.cli.refusal import FAILED, MISUSED, Refused
from tollway.compiled import is_compiled
from tollway.errors import ConfigError, TollwayError

_TRUE = {"1", "true", "yes", "on", "t", "y"}
_FALSE = {"0", "false", "no", "off", "f", "n"}

app = typer.Typer(
    name="tollway",
    cls=Commands,
    # `tollway completion` prints a script that starts no process at each Tab.
    add_completion=False,
    help="An LLM gateway: one port for every model API, with virtual keys, budgets, costs, routing and fallbacks.",
    invoke_without_command=True,
    # Plain text: an error is one line, and serving never imports Rich.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"token_normalize_func": underscored, "help_option_names": ["--help", "-h"]},
)


def run() -> None:
    """Runs the command line of this process and ends it with the command's exit code."""
    try:
        arguments, warnings = screen(sys.argv[1:])
        code = app(args=arguments, prog_name="tollway", obj=warnings, standalone_mode=True)
    except Refused as refused:
        sys.stderr.write(f"tollway: {refused}\n")
        code = refused.exit_code
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"tollway: {problem}\n")
        code = MISUSED
    except TollwayError as error:
        sys.stderr.write(f"tollway: {error}\n")
        code = FAILED
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # Whoever read has seen enough (`| head`); what is left must not be written when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


@app.callback()
def serve(
    context: typer.Context,
    *,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Serve this one model, whatever name is asked for.")
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", "-c", envvar="CONFIG_FILE_PATH", help="Serve what this config.yaml says.")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            envvar="HOST",
            help="Address to listen on. 0.0.0.0 with a strong master key of yours, else 127.0.0.1.",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", envvar="PORT", min=0, max=65535, help="Port to listen on; else 4000.")
    ] = None,
    num_workers: Annotated[
        int,
        typer.Option(
            "--num_workers",
            envvar=["NUM_WORKERS", "DEFAULT_NUM_WORKERS_LITELLM_PROXY"],
            min=1,
            max=256,
            help="Processes that serve.",
        ),
    ] = 1,
    alias: Annotated[str | None, typer.Option("--alias", help="With --model: the name to show for it.")] = None,
    api_base: Annotated[str | None, typer.Option("--api_base", help="With --model: the provider's base URL.")] = None,
    api_version: Annotated[
        str | None, typer.Option("--api_version", help="With --model: the provider's API version.")
    ] = None,
    headers: Annotated[
        str | None, typer.Option("--headers", help="With --model: headers for the provider, as JSON.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="With --model: where a call gives none.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max_tokens", min=1, help="With --model: where a call gives none.")
    ] = None,
    request_timeout: Annotated[
        float | None, typer.Option("--request_timeout", min=0.001, help="Seconds that one try of a call may take.")
    ] = None,
    max_budget: Annotated[
        str | None, typer.Option("--max_budget", help="Dollars that the whole gateway may spend.")
    ] = None,
    drop_params: Annotated[
        bool, typer.Option("--drop_params", help="Drop parameters that a provider does not know.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Log more.  [env var: DEBUG]")] = False,
    detailed_debug: Annotated[
        bool, typer.Option("--detailed_debug", help="Log most.  [env var: DETAILED_DEBUG]")
    ] = False,
    json_logs: Annotated[bool, typer.Option("--json_logs", help="Log lines as JSON.  [env var: JSON_LOGS]")] = False,
    log_config: Annotated[str | None, typer.Option("--log_config", help="A file for Python's logging.config.")] = None,
    ssl_keyfile_path: Annotated[
        str | None, typer.Option("--ssl_keyfile_path", envvar="SSL_KEYFILE_PATH", help="Serve HTTPS with this key.")
    ] = None,
    ssl_certfile_path: Annotated[
        str | None,
        typer.Option("--ssl_certfile_path", envvar="SSL_CERTFILE_PATH", help="Serve HTTPS with this certificate."),
    ] = None,
    ciphers: Annotated[str | None, typer.Option("--ciphers", help="OpenSSL's list of ciphers for HTTPS.")] = None,
    keepalive_timeout: Annotated[
        int,
        typer.Option(
            "--keepalive_timeout", envvar="KEEPALIVE_TIMEOUT", min=1, help="Seconds that an idle connection stays open."
        ),
    ] = 75,
    limit_concurrency: Annotated[
        int | None,
        typer.Option(
            "--limit_concurrency", envvar="LIMIT_CONCURRENCY", min=1, help="Connections per worker; more get 503."
        ),
    ] = None,
    max_requests_before_restart: Annotated[
        int | None,
        typer.Option(
            "--max_requests_before_restart",
            envvar="MAX_REQUESTS_BEFORE_RESTART",
            min=1,
            help="Replace a worker after so many.",
        ),
    ] = None,
    max_requests_before_restart_jitter: Annotated[
        int,
        typer.Option(
            "--max_requests_before_restart_jitter",
            envvar="MAX_REQUESTS_BEFORE_RESTART_JITTER",
            min=0,
            help="Up to so many more, by chance, so that workers are not replaced together.",
        ),
    ] = 0,
    skip_server_startup: Annotated[
        bool, typer.Option("--skip_server_startup", help="Bring data folder and tables up to date, then end.")
    ] = False,
    validate_config: Annotated[bool, typer.Option("--validate_config", help="Check --config, then end.")] = False,
    health: Annotated[
        bool, typer.Option("--health", help="Ask the gateway running at --host and --port how its models are.")
    ] = False,
    test: Annotated[
        bool, typer.Option("--test", help="Send the gateway running at --host and --port a chat call.")
    ] = False,
    key_file: Annotated[
        str | None, typer.Option("--key_file", help="With --health and --test: file with the key to ask with.")
    ] = None,
    telemetry: Annotated[
        str | None, typer.Option("--telemetry", metavar="BOOL", help="There is none, whatever is said here.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="In a folder without config.yaml: write one without asking anything.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", "-v", help="Show the version, then end.")] = False,
) -> None:
    """Serve a gateway: `tollway` serves the config.yaml of this folder, or asks three questions and writes one.

    `tollway --model claude-opus-4-6` serves one model, `tollway --config FILE` another file.
    """
    if context.invoked_subcommand is not None:
        return
    if version:
        show_version()
        return
    if telemetry is not None:
        _boolean("--telemetry", telemetry)
    flags = Flags(
        model=model,
        alias=alias,
        config=config,
        host=host,
        port=port,
        workers=num_workers,
        api_base=api_base,
        api_version=api_version,
        headers=headers,
        temperature=temperature,
        max_tokens=max_tokens,
        request_timeout_s=request_timeout,
        max_budget_usd=_usd(max_budget),
        drop_params=True if drop_params else None,
        debug=debug or _switched_on("DEBUG"),
        detailed_debug=detailed_debug or _switched_on("DETAILED_DEBUG"),
        json_logs=json_logs or _switched_on("JSON_LOGS"),
        log_config=log_config,
        ssl_keyfile_path=ssl_keyfile_path,
        ssl_certfile_path=ssl_certfile_path,
        ssl_ciphers=ciphers,
        keepalive_s=keepalive_timeout,
        concurrency_max=limit_concurrency,
        requests_max=max_requests_before_restart,
        requests_jitter=max_requests_before_restart_jitter,
    )
    if validate_config:
        if config is None:
            raise Refused("--validate_config needs --config FILE", exit_code=MISUSED)
        check(config)
        return
    raise typer.Exit(
        _probe(flags, key_file, wants_health=health) if health or test else _serve(context, flags, skip_server_startup)
    )


@app.command()
def check(config: Annotated[str, typer.Argument(metavar="CONFIG", help="A config.yaml.")]) -> None:
    """Check a config.yaml: every mistake at once, each with its line."""
    import tempfile

    from msgspec.structs import replace

    from tollway.app import prepare
    from tollway.cli.flags import read_config

    read = read_config(Flags(config=config))
    # Prepared as for a start, because only then is every model's provider asked for; but nothing of it stays.
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(replace(read, storage=replace(read.storage, data_dir=folder)))
    for warning in prepared.warnings:
        sys.stdout.write(f"warning: {warning}\n")
    served = len({entry.model_name for entry in read.models})
    sys.stdout.write(f"{config} is good: {served} models, {len(read.models)} deployments\n")


@app.command("version")
def show_version() -> None:
    """Show the version."""
    sys.stdout.write(f"Tollway {__version__}{', compiled' if is_compiled() else ''}\n")


def _serve(context: typer.Context, flags: Flags, skip_server_startup: bool) -> int:
    from functools import partial

    from tollway.cli.first_steps import greet, here
    from tollway.cli.serve import prepare_only, serve

    named = flags.config is not None or flags.model is not None
    flags, answers = here(flags, yes=bool(context.params.get("yes")), typed=skip_server_startup or len(sys.argv) > 1)
    if skip_server_startup:
        return prepare_only(flags)
    # A link that signs in is for a person who sits there, never for a log.
    person = answers is not None or (not named and flags.config is not None and sys.stdout.isatty())
    return serve(flags, context.obj, greet=partial(greet, answers=answers) if person else None)


def _probe(flags: Flags, key_file: str | None, *, wants_health: bool) -> int:
    from tollway.cli import probe
    from tollway.cli.binding import EVERYWHERE, url_of
    from tollway.cli.flags import read_config
    from tollway.cli.gateway_client import GatewayClient, find_key

    listen = read_config(flags).listen
    url = url_of(listen.host or EVERYWHERE, listen.port, tls=flags.ssl_certfile_path is not None)
    client = GatewayClient(url, find_key(key_file=key_file, config_path=flags.config))
    return probe.health(client) if wants_health else probe.test(client, flags.alias or flags.model)


def _usd(written: str | None) -> str | None:
    """The amount as an exact decimal."""
    if written is None:
        return None
    try:
        amount = Decimal(written)
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite() or amount < 0:
        raise Refused(f"--max_budget {written!r} should be an amount in dollars, such as 25 or 0.50", exit_code=MISUSED)
    return f"{amount:f}"


def _boolean(flag: str, written: str) -> bool:
    word = written.strip().lower()
    if word not in _TRUE | _FALSE:
        raise Refused(f"{flag} {written!r} should be true or false", exit_code=MISUSED)
    return word in _TRUE


def _switched_on(variable: str) -> bool:
    """Names such as DEBUG belong to everybody, so a value that is neither true nor false is somebody else's."""
    return os.environ.get(variable, "").strip().lower() in _TRUE
