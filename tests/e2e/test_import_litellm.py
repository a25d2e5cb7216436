"""`tollway import litellm` on a database that LiteLLM's own migrations made, in a real PostgreSQL."""

from __future__ import annotations

import json
import secrets
import subprocess
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from nacl.secret import SecretBox
from psycopg.types.json import Jsonb

from tollway.testing.postgres import PostgresServer

from .gateway import GPT_4O_USD, ROWS_S_MAX, TOLLWAY, Gateway, configuration
from .installed import install_litellm_schema
from .processes import wait_for
from .provider import Provider

pytestmark = pytest.mark.e2e

IMPORT_S_MAX = 240
SALT = "sk-salt-of-the-old-proxy"
MASTER = "sk-old-master-key-of-the-proxy-0001"
OLD_KEY = "sk-" + "a1B2c3D4e5F6g7H8i9J0kL"
BARE_KEY = "sk-" + "withNothing0fItsOwn000"
REPLACED_KEY = "sk-" + "replacedButStillInGrac"
NOW = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
RESET = (NOW.replace(day=28) + timedelta(days=7)).replace(day=1, hour=0, minute=0, second=0)
#: Noon of days ago: LiteLLM forgot the log of all before three days ago, and half of that day's.
DAY = NOW.replace(hour=12, minute=0, second=0)


def hashed(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def sealed(value: str, *, urlsafe: bool = False) -> str:
    """As LiteLLM stores a secret."""
    box = SecretBox(sha256(SALT.encode()).digest()).encrypt(value.encode())
    return (urlsafe_b64encode if urlsafe else b64encode)(box).decode()


class Database:
    """A LiteLLM database, filled by hand."""

    def __init__(self, url: str, migrations: Path) -> None:
        self.url = url
        self._connection = psycopg.connect(url, autocommit=True)
        for file in sorted(migrations.glob("*/migration.sql")):
            self._connection.execute(file.read_text().encode())

    def close(self) -> None:
        self._connection.close()

    def run(self, statement: str, *values: Any) -> None:
        self._connection.execute(statement.encode(), values)

    def add(self, table: str, **columns: Any) -> None:
        values = [Jsonb(value) if isinstance(value, dict) else value for value in columns.values()]
        names = ", ".join(f'"{name}"' for name in columns)
        statement = f'INSERT INTO "{table}" ({names}) VALUES ({", ".join(["%s"] * len(columns))})'
        self._connection.execute(statement.encode(), values)

    def call(self, request_id: str, at: datetime, **columns: Any) -> None:
        given = {
            "request_id": request_id,
            "call_type": "acompletion",
            "api_key": hashed(OLD_KEY),
            "spend": 0.0123,
            "total_tokens": 1500,
            "prompt_tokens": 1400,
            "completion_tokens": 100,
            "startTime": at,
            "endTime": at + timedelta(seconds=2),
            "completionStartTime": at + timedelta(milliseconds=300),
            "model": "openai/gpt-4o",
            "model_group": "gpt-4o",
            "custom_llm_provider": "openai",
            "user": "ada",
            "team_id": "red",
            "end_user": "customer-7",
            "session_id": "s-1",
            "status": "success",
            "request_tags": Jsonb(["blue", "User-Agent: curl"]),
            "messages": Jsonb([{"role": "user", "content": "a secret question"}]),
            "metadata": {
                "user_api_key_alias": "old",
                "user_api_key_user_id": "ada",
                "usage_object": {"completion_tokens_details": {"reasoning_tokens": 40}},
                "additional_usage_values": {"cache_read_input_tokens": 1000},
                "cost_breakdown": {"input_cost": 0.0023, "output_cost": 0.01, "cache_read_cost": 0.0003},
            },
        }
        self.add("LiteLLM_SpendLogs", **{**given, **columns})

    def day(self, table: str, at: datetime, **columns: Any) -> None:
        given = {
            "id": secrets.token_hex(8),
            "date": at.date().isoformat(),
            "api_key": hashed(OLD_KEY),
            "model": "openai/gpt-4o",
            "model_group": "gpt-4o",
            "custom_llm_provider": "openai",
            "prompt_tokens": 70_000,
            "completion_tokens": 5_000,
            "cache_read_input_tokens": 50_000,
            "spend": 0.615,
            "api_requests": 50,
            "successful_requests": 49,
            "failed_requests": 1,
            "updated_at": at,
        }
        self.add(table, **{**given, **columns})


def fill(database: Database) -> None:
    by = {"created_by": "ada", "updated_by": "ada"}
    database.add("LiteLLM_BudgetTable", budget_id="b-member", max_budget=7.5, rpm_limit=30, **by)
    database.add("LiteLLM_BudgetTable", budget_id="b-org", max_budget=500.0, budget_duration="30d", **by)
    database.add("LiteLLM_BudgetTable", budget_id="b-soft", soft_budget=20.0, **by)
    database.add(
        "LiteLLM_OrganizationTable",
        organization_id="org-1",
        organization_alias="Tolls",
        budget_id="b-org",
        models=["gpt-4o"],
        spend=3.25,
        **by,
    )
    database.add(
        "LiteLLM_UserTable",
        user_id="ada",
        user_email="ada@example.com",
        user_role="internal_user",
        max_budget=100.0,
        budget_duration="monthly",
        budget_reset_at=RESET,
        spend=12.5,
        password="scrypt:something",
        models=[],
    )
    database.add("LiteLLM_UserTable", user_id="litellm-proxy-budget", spend=99.5, models=[])
    database.add("LiteLLM_OrganizationMembership", user_id="ada", organization_id="org-1", user_role="org_admin")
    database.add("LiteLLM_ModelTable", id=3, aliases={"fast": "gpt-4o"}, **by)
    database.add(
        "LiteLLM_TeamTable",
        team_id="red",
        team_alias="Red team",
        organization_id="org-1",
        members_with_roles=Jsonb([{"role": "admin", "user_id": "ada"}, {"role": "user", "user_id": "bob"}]),
        admins=[],
        members=[],
        models=["gpt-4o"],
        max_budget=50.0,
        budget_duration="30d",
        budget_reset_at=RESET,
        spend=20.75,
        model_id=3,
        metadata={"model_rpm_limit": {"gpt-4o": 600}, "cost_center": "42"},
    )
    database.add("LiteLLM_TeamMembership", user_id="bob", team_id="red", budget_id="b-member", spend=1.25)
    database.add(
        "LiteLLM_EndUserTable", user_id="customer-7", alias="Seven", spend=0.75, budget_id="b-member", blocked=True
    )
    database.add("LiteLLM_TagTable", tag_name="blue", models=[], spend=2.0, budget_id="b-org")
    database.add(
        "LiteLLM_CredentialsTable",
        credential_id="c1",
        credential_name="the-openai-one",
        credential_values={"api_key": sealed("sk-provider")},
        **by,
    )
    keys(database)
    calls(database)
    database.add("LiteLLM_GuardrailsTable", guardrail_id="g", guardrail_name="pii", litellm_params={}, updated_at=NOW)


def keys(database: Database) -> None:
    database.add(
        "LiteLLM_VerificationToken",
        token=hashed(OLD_KEY),
        key_name="sk-...0kL",
        key_alias="old",
        user_id="ada",
        team_id="red",
        models=["gpt-4o"],
        spend=4.5,
        total_spend=44.5,
        max_budget=5.0,
        budget_duration="30d",
        budget_reset_at=RESET,
        budget_id="b-soft",
        rpm_limit=1_000,
        metadata={"tags": ["blue"], "guardrails": ["pii"], "note": "kept"},
        budget_limits=Jsonb([{"budget_duration": "1d", "max_budget": 4.75}]),
        created_at=NOW - timedelta(days=90),
    )
    database.add("LiteLLM_VerificationToken", token=hashed(BARE_KEY), key_name="sk-...000", models=[], tpd_limit=5)
    database.add("LiteLLM_VerificationToken", token="not a hash", models=[])
    database.add(
        "LiteLLM_DeprecatedVerificationToken",
        id="d",
        token=hashed(REPLACED_KEY),
        active_token_id=hashed(BARE_KEY),
        revoke_at=NOW + timedelta(days=1),
    )


def calls(database: Database) -> None:
    for number in range(50):
        database.call(f"call-{number}", DAY - timedelta(days=2, minutes=number))
    database.call(
        "failed",
        DAY - timedelta(days=1),
        spend=0.0,
        status="failure",
        total_tokens=0,
        prompt_tokens=0,
        completion_tokens=0,
        end_user="",
        metadata={"error_information": {"error_code": "429", "error_class": "RateLimitError", "error_message": "slow"}},
    )
    database.call("half a day", DAY - timedelta(days=3))
    for days in (3, 4, 5):
        database.day("LiteLLM_DailyUserSpend", DAY - timedelta(days=days), user_id="ada")
        database.day("LiteLLM_DailyTagSpend", DAY - timedelta(days=days), tag="blue")
        database.day("LiteLLM_DailyEndUserSpend", DAY - timedelta(days=days), end_user_id="customer-7")
    database.day(
        "LiteLLM_DailyUserSpend", DAY - timedelta(days=2), user_id="ada"
    )  # of this day all calls are in the log


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def migrations(request: pytest.FixtureRequest) -> Path:
    terminal = request.config.pluginmanager.getplugin("terminalreporter")
    return install_litellm_schema(lambda line: terminal.write_line(line) if terminal else None)


@pytest.fixture
def litellm(postgres: PostgresServer, migrations: Path) -> Iterator[Database]:
    database = Database(postgres.new_database(), migrations)
    fill(database)
    yield database
    database.close()


class Target:
    """A folder with a config.yaml, as a person who moves in has it."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder = folder
        self.config = config
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    def run(self, *arguments: str, salt: str | None = SALT) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LITELLM_MASTER_KEY": MASTER}
        environment["TOLLWAY_DATA_DIR"] = str(self.folder / "data")
        if salt is not None:
            environment["LITELLM_SALT_KEY"] = salt
        return subprocess.run(
            [str(TOLLWAY), *arguments],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=IMPORT_S_MAX,
            check=False,
        )

    def report(self, *arguments: str) -> dict[str, Any]:
        done = self.run("import", "litellm", "--config", "config.yaml", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report


@pytest.fixture(params=["sqlite", "the same database"])
def target(request: pytest.FixtureRequest, litellm: Database, provider: Provider, tmp_path: Path) -> Target:
    """Tollway's own data in a file, or beside LiteLLM's tables in the database that its config.yaml names."""
    config = configuration(provider.url, provider.url)
    config["model_list"] = [entry for entry in config["model_list"] if entry["model_name"] == "gpt-4o"]
    del config["router_settings"]["fallbacks"]
    if request.param != "sqlite":
        config["general_settings"] = {"database_url": litellm.url}
    return Target(tmp_path, config)


def add_model(database: Database, provider: Provider) -> None:
    database.add(
        "LiteLLM_ProxyModelTable",
        model_id="m1",
        model_name="stored-model",
        litellm_params={
            "model": sealed("openai/gpt-4o", urlsafe=True),
            "api_base": sealed(f"{provider.url}/v1"),
            "api_key": sealed("sk-provider"),
            "rpm": 500,
        },
        model_info={"id": "m1", "db_model": True},
        created_by="ada",
        updated_by="ada",
    )


def test_everything_that_has_a_place_here_is_moved_and_works(
    litellm: Database, target: Target, provider: Provider, tmp_path: Path
) -> None:
    add_model(litellm, provider)
    report = target.report("--database-url", litellm.url)

    def moved(kind: str) -> tuple[int, int]:
        return report["moved"][kind]["found"], report["moved"][kind]["moved"]

    assert moved("budgets") == (3, 3)
    assert moved("organizations") == moved("teams") == moved("customers") == moved("tags") == (1, 1)
    assert moved("users") == moved("credentials") == moved("models") == (1, 1)
    assert moved("keys") == (3, 2)
    assert moved("calls") == (51, 51)  # not the half day: its sums tell more than its log
    assert moved("daily sums") == (9, 9)
    assert report["spend_nano"] == 50 * 12_300_000 + 3 * 615_000_000
    noted = {(one["kind"], one["what"]): one for one in report["not_carried"]}
    assert noted["key", "guardrails"]["examples"] == ["old"]
    assert noted["key", "tpd_limit"]["count"] == 1
    assert ("key", "is not kept as a SHA-256") in noted
    assert noted["user", "password"]["examples"] == ["ada"]
    assert report["without_place"] == {"guardrails": 1}

    gateway = Gateway(target.config, tmp_path / "run", LITELLM_SALT_KEY=SALT, TOLLWAY_DATA_DIR=str(tmp_path / "data"))
    try:
        check_served(gateway)
    finally:
        gateway.stop()


def check_served(gateway: Gateway) -> None:
    info = gateway.key_info(OLD_KEY)
    assert info["key_alias"] == "old"
    assert (info["spend"], info["max_budget"]) == (4.5, 5.0)
    assert info["metadata"]["note"] == "kept"
    assert info["budget_reset_at"].startswith(RESET.date().isoformat())
    for key in (OLD_KEY, BARE_KEY, REPLACED_KEY):  # clients keep theirs
        answer = ask(gateway, key, "gpt-4o")
        assert answer.status_code == 200, answer.text
    assert ask(gateway, OLD_KEY, "fast").status_code == 200  # the team's alias
    assert ask(gateway, BARE_KEY, "stored-model").status_code == 200
    master = gateway.as_master()

    def team_with_two_more_calls() -> Any:
        found = gateway.client.get("/team/info", params={"team_id": "red"}, headers=master).json()["team_info"]
        return found if found["spend"] == pytest.approx(20.75 + 2 * GPT_4O_USD) else None

    team = wait_for("what the team spent is written", team_with_two_more_calls, ROWS_S_MAX)
    assert team["team_alias"] == "Red team"
    assert team["metadata"]["cost_center"] == "42"
    assert {(one["user_id"], one["role"]) for one in team["members_with_roles"]} == {("ada", "admin"), ("bob", "user")}
    assert team["budget_reset_at"].startswith(RESET.date().isoformat())
    customer = gateway.client.get("/customer/info", params={"end_user_id": "customer-7"}, headers=master).json()
    assert (customer["alias"], customer["blocked"], customer["spend"]) == ("Seven", True, 0.75)

    def spent_by_all() -> bool:
        spent: float = gateway.client.get("/global/spend", headers=master).json()["spend"]
        return spent == pytest.approx(99.5 + 5 * GPT_4O_USD)

    wait_for("what all spent is written", spent_by_all, ROWS_S_MAX)

    logged = gateway.client.get("/spend/logs", params={"request_id": "call-7"}, headers=master).json()
    assert len(logged) == 1
    assert logged[0]["spend"] == 0.0123
    assert (logged[0]["prompt_tokens"], logged[0]["completion_tokens"]) == (1400, 100)
    assert logged[0]["metadata"]["additional_usage_values"]["cache_read_input_tokens"] == 1000
    assert logged[0]["startTime"].startswith((DAY - timedelta(days=2, minutes=7)).isoformat())
    failed = gateway.client.get("/spend/logs", params={"request_id": "failed"}, headers=master).json()
    assert failed[0]["metadata"]["error_information"]["error_code"] == "429"

    span = {"start_date": (DAY - timedelta(days=5)).date().isoformat(), "end_date": DAY.date().isoformat()}
    activity = gateway.client.get("/team/daily/activity", params={**span, "team_ids": "red"}, headers=master).json()
    by_day = {one["date"]: one["metrics"] for one in activity["results"]}
    for days in (3, 4, 5):
        metrics = by_day[(DAY - timedelta(days=days)).date().isoformat()]
        assert (metrics["api_requests"], metrics["failed_requests"]) == (50, 1)
        assert metrics["spend"] == pytest.approx(0.615)
    assert by_day[(DAY - timedelta(days=2)).date().isoformat()]["api_requests"] == 50
    tags = gateway.client.get("/tag/daily/activity", params={**span, "tags": "blue"}, headers=master).json()
    assert tags["metadata"]["total_api_requests"] >= 3 * 50 + 50


def ask(gateway: Gateway, key: str, model: str) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    return gateway.client.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"})


def test_a_budget_that_was_nearly_spent_is_nearly_spent_here(litellm: Database, target: Target, tmp_path: Path) -> None:
    litellm.run('UPDATE "LiteLLM_VerificationToken" SET spend = 4.9999')
    target.report("--database-url", litellm.url)
    gateway = Gateway(target.config, tmp_path / "run", LITELLM_SALT_KEY=SALT, TOLLWAY_DATA_DIR=str(tmp_path / "data"))
    try:
        refused = ask(gateway, OLD_KEY, "gpt-4o")
        assert refused.status_code == 422
        assert refused.json()["error"]["type"] == "budget_exceeded"
    finally:
        gateway.stop()


def test_a_dry_run_changes_nothing_and_a_second_import_adds_only_what_is_new(
    litellm: Database, target: Target, tmp_path: Path
) -> None:
    told = target.report("--database-url", litellm.url, "--dry-run")
    assert told["moved"]["calls"] == {"found": 51, "moved": 51, "there_already": 0, "unreadable": 0}
    assert not list(tmp_path.rglob("*.db"))
    with psycopg.connect(litellm.url) as connection:
        assert connection.execute("SELECT to_regclass('tollway.keys')").fetchone() == (None,)

    target.report("--database-url", litellm.url)
    litellm.call("late", DAY - timedelta(hours=12))
    litellm.run(
        "UPDATE \"LiteLLM_TeamTable\" SET max_budget = 60 WHERE team_id = 'red'",
    )
    again = target.report("--database-url", litellm.url)
    assert again["moved"]["keys"]["there_already"] == 2
    assert again["moved"]["teams"] == {"found": 1, "moved": 0, "there_already": 1, "unreadable": 0}
    assert again["moved"]["calls"] == {"found": 52, "moved": 1, "there_already": 51, "unreadable": 0}
    assert again["moved"]["daily sums"]["moved"] == 0
    over = target.report("--database-url", litellm.url, "--overwrite", "--no-spend")
    assert over["moved"]["teams"]["moved"] == 1
    assert "calls" not in over["moved"]


def test_the_report_says_in_words_what_was_moved_and_what_was_not(litellm: Database, target: Target) -> None:
    done = target.run("import", "litellm", "--config", "config.yaml", "--database-url", litellm.url)
    assert done.returncode == 0, done.stderr
    assert "key: guardrails (1: old)" in done.stdout
    assert "guardrails: 1" in done.stdout
    assert "$2.4600" in done.stdout
    assert "calls: 51" in done.stderr
    for secret in (SALT, MASTER, "sk-provider", "a secret question"):
        assert secret not in done.stdout + done.stderr


def test_models_that_were_sealed_with_another_key_are_named_and_the_rest_is_moved(
    litellm: Database, target: Target, provider: Provider
) -> None:
    add_model(litellm, provider)
    done = target.run("import", "litellm", "--config", "config.yaml", "--database-url", litellm.url, salt="sk-another")
    assert done.returncode == 0, done.stderr
    assert "model: model was encrypted with another key (1: stored-model)" in done.stdout
    assert "credential: was encrypted with another key (1: the-openai-one)" in done.stdout


@pytest.mark.parametrize(
    ("url", "said", "code"),
    [
        ("mysql://somewhere/db", "should be LiteLLM's PostgreSQL database", 2),
        ("postgresql://nobody:hunter22@127.0.0.1:1/litellm", "cannot be read", 1),
    ],
)
def test_a_database_that_is_not_there_is_said_in_one_line(url: str, said: str, code: int, tmp_path: Path) -> None:
    done = Target(tmp_path, {"model_list": []}).run(
        "import", "litellm", "--config", "config.yaml", "--database-url", url
    )
    assert done.returncode == code
    assert said in done.stderr
    assert "hunter22" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_database_that_is_not_litellms_is_refused(postgres: PostgresServer, tmp_path: Path) -> None:
    done = Target(tmp_path, {"model_list": []}).run(
        "import", "litellm", "--config", "config.yaml", "--database-url", postgres.new_database()
    )
    assert done.returncode == 1
    assert "it is not LiteLLM's" in done.stderr
