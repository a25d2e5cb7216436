from __future__ import annotations

from msgspec.structs import replace

from tollway.calls import Secret
from tollway.config.changes import FIXED, NAMES_MAX, Changes, changes, listed, with_fixed
from tollway.config.settings import (
    BoundSettings,
    Config,
    LogSettings,
    ModelEntry,
    MoneySettings,
    RoutingSettings,
    StorageSettings,
)


def entry(name: str, **fields: object) -> ModelEntry:
    return replace(ModelEntry(name, f"openai/{name}"), **fields)


def test_models_are_compared_by_name_whatever_line_they_stand_in() -> None:
    before = Config(models=(entry("a", place="config.yaml:1"), entry("b"), entry("b", rpm=1), entry("gone")))
    after = Config(models=(entry("b"), entry("b", rpm=2), entry("a", place="config.yaml:9"), entry("new")))
    found = changes(before, after)
    assert found == Changes(added=("new",), removed=("gone",), changed=("b",))
    assert str(found) == "models added: new; models removed: gone; models changed: b"
    assert changes(before, before) == Changes()
    assert str(changes(before, before)) == "nothing changed"
    assert not changes(before, before)


def test_a_new_key_of_a_model_is_a_change_and_shows_nothing_of_it() -> None:
    before = Config(models=(entry("a", api_key=Secret("sk-one")),), environment={"OPENAI_API_KEY": Secret("x")})
    after = Config(models=(entry("a", api_key=Secret("sk-two")),), environment={"OPENAI_API_KEY": Secret("y")})
    assert str(changes(before, after)) == "models changed: a; settings changed: environment.OPENAI_API_KEY"


def test_what_only_a_start_takes_up_stays_as_it_is_with_its_source() -> None:
    before = Config(
        storage=StorageSettings(data_dir="/old"),
        logs=LogSettings(level="INFO", spend_retention="1d"),
        sources={"storage.data_dir": "config.yaml:3", "routing.retries": "config.yaml:4"},
    )
    after = Config(
        storage=StorageSettings(data_dir="/new"),
        logs=LogSettings(level="DEBUG", spend_retention="2d"),
        bounds=BoundSettings(head_bytes_max=4096, body_bytes_max=9),
        routing=RoutingSettings(retries=9),
        money=MoneySettings(output_tokens_floor=1),
        sources={"storage.data_dir": "config.yaml:7", "logs.level": "config.yaml:8", "routing.retries": "x:1"},
    )
    found = changes(before, after)
    assert found.fixed == ("logs.level", "storage.data_dir", "bounds.head_bytes_max")
    assert found.settings == (
        "routing.retries",
        "money.output_tokens_floor",
        "logs.spend_retention",
        "bounds.body_bytes_max",
    )
    merged = with_fixed(before, after)
    assert merged.storage == before.storage
    assert merged.logs == LogSettings(level="INFO", spend_retention="2d")
    assert merged.bounds == BoundSettings(body_bytes_max=9)
    assert merged.routing.retries == 9
    assert merged.sources == {"storage.data_dir": "config.yaml:3", "routing.retries": "x:1"}


def test_everything_that_is_fixed_is_there() -> None:
    for path in FIXED:
        section, _, field = path.partition(".")
        assert not field or hasattr(getattr(Config(), section), field), path


def test_many_names_are_counted() -> None:
    names = tuple(f"m{i}" for i in range(NAMES_MAX + 3))
    assert listed(names).endswith(f"m{NAMES_MAX - 1} and 3 more")
