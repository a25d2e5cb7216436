"""The command line: every flag that people know from LiteLLM is obeyed or refused with a sentence, in both spellings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tollway import __version__
from tollway.cli import main
from tollway.cli.flags import Flags

Type = Callable[..., tuple[int, Flags | None]]

#: flag, what is typed after it (None: nothing), field of Flags, its value.
OBEYED: list[tuple[str, str | None, str, Any]] = [
    ("--host", "127.0.0.2", "host", "127.0.0.2"),
    ("--port", "4001", "port", 4001),
    ("--num_workers", "3", "workers", 3),
    ("--model", "gpt-4o", "model", "gpt-4o"),
    ("--alias", "mine", "alias", "mine"),
    ("--config", "c.yaml", "config", "c.yaml"),
    ("--api_base", "http://h/v1", "api_base", "http://h/v1"),
    ("--api_version", "2024-10-21", "api_version", "2024-10-21"),
    ("--headers", '{"x-a": "b"}', "headers", '{"x-a": "b"}'),
    ("--temperature", "0.5", "temperature", 0.5),
    ("--max_tokens", "7", "max_tokens", 7),
    ("--request_timeout", "9.5", "request_timeout_s", 9.5),
    ("--max_budget", "2.50", "max_budget_usd", "2.50"),
    ("--drop_params", None, "drop_params", True),
    ("--debug", None, "debug", True),
    ("--detailed_debug", None, "detailed_debug", True),
    ("--json_logs", None, "json_logs", True),
    ("--log_config", "l.yaml", "log_config", "l.yaml"),
    ("--ssl_keyfile_path", "k.pem", "ssl_keyfile_path", "k.pem"),
    ("--ssl_certfile_path", "c.pem", "ssl_certfile_path", "c.pem"),
    ("--ciphers", "HIGH", "ssl_ciphers", "HIGH"),
    ("--keepalive_timeout", "5", "keepalive_s", 5),
    ("--limit_concurrency", "100", "concurrency_max", 100),
    ("--max_requests_before_restart", "1000", "requests_max", 1000),
    ("--max_requests_before_restart_jitter", "50", "requests_jitter", 50),
    ("--telemetry", "False", "port", None),
    ("-m", "gpt-4o", "model", "gpt-4o"),
    ("-c", "c.yaml", "config", "c.yaml"),
]

REFUSED: list[tuple[str, str | None]] = [
    ("--run_gunicorn", None),
    ("--run_hypercorn", None),
    ("--run_granian", None),
    ("--granian_threads", "4"),
    ("--iam_token_db_auth", None),
    ("--azure_postgresql_auth", None),
    ("--add_key", "sk-provider"),
    ("--save", None),
    ("--add_function_to_prompt", None),
    ("--prometheus_metrics_port", "9090"),
    ("--reload", None),
    ("--setup", None),
    ("--test_async", None),
    ("--num_requests", "10"),
]

LEFT_OUT: list[tuple[str, str | None]] = [
    ("--use_queue", None),
    ("--local", None),
    ("--use_prisma_db_push", None),
    ("--use_v2_migration_resolver", None),
    ("--use_legacy_migration_resolver", None),
    ("--timeout_worker_healthcheck", "30"),
]

VARIABLES: list[tuple[str, str, str, Any]] = [
    ("HOST", "127.0.0.3", "host", "127.0.0.3"),
    ("PORT", "4002", "port", 4002),
    ("NUM_WORKERS", "2", "workers", 2),
    ("DEFAULT_NUM_WORKERS_LITELLM_PROXY", "2", "workers", 2),
    ("CONFIG_FILE_PATH", "c.yaml", "config", "c.yaml"),
    ("DEBUG", "true", "debug", True),
    ("DEBUG", "express:*", "debug", False),
    ("DETAILED_DEBUG", "1", "detailed_debug", True),
    ("JSON_LOGS", "True", "json_logs", True),
    ("SSL_KEYFILE_PATH", "k.pem", "ssl_keyfile_path", "k.pem"),
    ("SSL_CERTFILE_PATH", "c.pem", "ssl_certfile_path", "c.pem"),
    ("KEEPALIVE_TIMEOUT", "6", "keepalive_s", 6),
    ("LIMIT_CONCURRENCY", "7", "concurrency_max", 7),
    ("MAX_REQUESTS_BEFORE_RESTART", "8", "requests_max", 8),
    ("MAX_REQUESTS_BEFORE_RESTART_JITTER", "9", "requests_jitter", 9),
]


def spellings(rows: list[Any]) -> list[Any]:
    """Each row with its flag as LiteLLM writes it and with dashes."""
    dashed = [("--" + row[0][2:].replace("_", "-"), *row[1:]) for row in rows if "_" in row[0]]
    return [*rows, *dashed]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Type:
    """Runs the command line with serving replaced by writing down what it would serve."""
    for variable, *_ in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    seen: list[Flags] = []

    def serve(context: Any, flags: Flags, skip_server_startup: bool) -> int:
        seen.append(flags)
        for warning in context.obj:
            sys.stderr.write(warning + "\n")
        return 0

    monkeypatch.setattr(main, "_serve", serve)

    def run(*arguments: str) -> tuple[int, Flags | None]:
        monkeypatch.setattr(sys, "argv", ["tollway", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.run()
        assert isinstance(ended.value.code, int)
        return ended.value.code, seen[-1] if seen else None

    return run


@pytest.mark.parametrize(("flag", "typed", "field", "value"), spellings(OBEYED))
def test_a_flag_of_litellm_that_means_the_same_is_obeyed(
    command: Type, flag: str, typed: str | None, field: str, value: Any
) -> None:
    code, flags = command(flag, *([] if typed is None else [typed]))
    assert code == 0
    assert getattr(flags, field) == value


@pytest.mark.parametrize(("flag", "typed"), spellings(REFUSED))
def test_a_flag_that_tollway_cannot_obey_is_refused_in_one_line(
    command: Type, capsys: pytest.CaptureFixture[str], flag: str, typed: str | None
) -> None:
    code, flags = command(flag, *([] if typed is None else [typed]))
    assert (code, flags) == (2, None)
    said = capsys.readouterr().err
    assert said.startswith(f"tollway: {flag}: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(("flag", "typed"), spellings(LEFT_OUT))
def test_a_flag_without_effect_is_named_and_does_not_stop_the_start(
    command: Type, capsys: pytest.CaptureFixture[str], flag: str, typed: str | None
) -> None:
    code, flags = command("--port", "4100", flag, *([] if typed is None else [typed]), "--alias", "mine")
    assert code == 0
    assert flags is not None
    assert (flags.port, flags.alias) == (4100, "mine")
    assert f"{flag} has no effect" in capsys.readouterr().err


@pytest.mark.parametrize(("variable", "text", "field", "value"), VARIABLES)
def test_an_environment_variable_stands_in_for_its_flag(
    command: Type, monkeypatch: pytest.MonkeyPatch, variable: str, text: str, field: str, value: Any
) -> None:
    monkeypatch.setenv(variable, text)
    _, flags = command()
    assert getattr(flags, field) == value


def test_a_value_may_be_joined_to_its_flag_and_keeps_its_dashes(command: Type) -> None:
    _, flags = command("--num-workers=2", "--model=claude-opus-4-6", "--api-base=http://a-b/c_d")
    assert flags is not None
    assert (flags.workers, flags.model, flags.api_base) == (2, "claude-opus-4-6", "http://a-b/c_d")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--port", "70000"], "--port"),
        (["--num_workers", "0"], "--num_workers"),
        (["--max_budget", "much"], "--max_budget 'much' should be an amount in dollars"),
        (["--max_budget", "-1"], "--max_budget"),
        (["--max_budget", "inf"], "--max_budget"),
        (["--telemetry", "perhaps"], "--telemetry 'perhaps' should be true or false"),
        (["--validate_config"], "--validate_config needs --config"),
        (["--no_such_flag"], "No such option: --no_such_flag"),
        (["nosuchcommand"], "nosuchcommand"),
    ],
)
def test_a_mistake_on_the_command_line_is_named_and_ends_with_code_2(
    command: Type, capsys: pytest.CaptureFixture[str], arguments: list[str], part: str
) -> None:
    assert command(*arguments) == (2, None)
    assert part in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--version"], ["-v"], ["version"]])
def test_the_version_is_one_line(command: Type, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert command(*arguments) == (0, None)
    assert capsys.readouterr().out == f"Tollway {__version__}\n"


@pytest.mark.parametrize("arguments", [["check"], ["--validate_config", "--config"]])
def test_check_says_that_a_good_configuration_is_good(
    command: Type, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("model_list:\n  - model_name: a\n    litellm_params: {model: openai/gpt-4o}\n")
    assert command(*arguments, str(path)) == (0, None)
    assert capsys.readouterr().out.endswith("is good: 1 models, 1 deployments\n")


def test_check_tells_every_mistake_with_its_line_and_ends_with_code_2(
    command: Type, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("model_list:\n  - model_name: a\n    litellm_parms: {model: openai/gpt-4o}\nlitelm_settings: {}\n")
    assert command("check", str(path)) == (2, None)
    said = capsys.readouterr().err
    assert ":3: " in said
    assert ":4: " in said


def test_check_finds_what_only_a_start_would_find_and_leaves_nothing_behind(
    command: Type, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    path = tmp_path / "config.yaml"
    path.write_text("model_list:\n  - model_name: a\n    litellm_params: {model: opnai/gpt-4o}\n")
    assert command("check", str(path)) == (2, None)
    assert "opnai" in capsys.readouterr().err
    path.write_text("model_list:\n  - model_name: a\n    litellm_params: {model: openai/gpt-4o}\n")
    assert command("check", str(path)) == (0, None)
    assert "warning: a: openai needs a key: set OPENAI_API_KEY or api_key" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_serving_imports_neither_rich_nor_what_other_commands_need() -> None:
    looked = "import sys, tollway.cli.main, tollway.cli.serve; print([n for n in sys.argv[1:] if n in sys.modules])"
    heavy = ["rich", "urllib.request", "fastapi", "sqlalchemy", "alembic"]
    ended = subprocess.run([sys.executable, "-c", looked, *heavy], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
