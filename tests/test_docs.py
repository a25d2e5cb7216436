"""What is documented exists, and what exists is documented: README.md and the pages in docs/, held to the program."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from tollway import dispatch, errors, operations
from tollway.admin import key_requests
from tollway.admin.application import ROUTES
from tollway.admin.roles import Access
from tollway.cli import main
from tollway.config import Config, load, places
from tollway.config.environment import PROVIDER_SUFFIXES, VARIABLES
from tollway.config.models import MODEL_INFO, PARAMS
from tollway.config.sections import SECTIONS
from tollway.endpoints import gemini, models, openai, pass_through, realtime, responses
from tollway.providers import registry
from tollway.snapshot import STALL_S_DEFAULT

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "tollway"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
CODE = re.compile(r"`([^`]+)`")


# --- reading a page ------------------------------------------------------------------------------------------------


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next one of any depth."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text_of(page), re.MULTILINE | re.DOTALL)
    assert found is not None, f"{page} has no heading {heading!r}"
    return found[1]


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the tables' rows under a heading, without the tables' heads."""
    lines = [line for line in section(page, heading).splitlines() if line.startswith("|")]
    ruled = [i for i, line in enumerate(lines) if set(line) <= set("|-")]
    heads = {i - 1 for i in ruled} | set(ruled)
    return [[cell.strip() for cell in line.strip("|").split("|")] for i, line in enumerate(lines) if i not in heads]


def names(page: str, heading: str, *, column: int = 0) -> list[str]:
    """What stands as code in one column."""
    return [name for row in rows(page, heading) for name in CODE.findall(row[column])]


# --- docs/configuration.md -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "table"),
    [
        ("`litellm_params`", PARAMS),
        ("`model_info`", MODEL_INFO),
        *((f"`{name}`", table) for name, (table, _) in SECTIONS.items()),
    ],
)
def test_every_setting_has_its_row_and_every_row_a_setting(heading: str, table: Mapping[str, Any]) -> None:
    written = names("docs/configuration.md", heading)
    assert sorted(written) == sorted(set(written))
    assert set(written) == set(table)


@pytest.mark.parametrize("name", SECTIONS)
def test_numbers_and_switches_that_are_said_to_be_defaults_are(name: str) -> None:
    config = Config()
    by_default: dict[str, Any] = {"router_settings.stream_timeout": STALL_S_DEFAULT}
    for keys, default, _ in rows("docs/configuration.md", f"`{name}`"):
        written = default.strip("`")
        for key in CODE.findall(keys):
            part, _, field = SECTIONS[name][0][key][0].partition(".")
            value = by_default.get(f"{name}.{key}", getattr(getattr(config, part), field))
            if key in ("max_request_size_mb", "max_response_size_mb"):
                value >>= 20
            if re.fullmatch(r"[\d.]+", written):
                assert float(written) == float(value), key
            elif written in ("true", "false") and key not in ("set_verbose", "disable_cooldowns"):
                assert (written == "true") is bool(value), key
            elif written == "no limit":
                assert value is None, key


def test_every_environment_variable_is_named_and_none_that_means_nothing() -> None:
    written = set(names("docs/configuration.md", "Environment variables"))
    assert {name.upper() for name, _, _ in VARIABLES} <= written
    for name in written - {name for name, _, _ in VARIABLES}:
        assert name in registry.variables() or name.endswith(PROVIDER_SUFFIXES) or name.startswith("_"), name


@cache
def command() -> Any:
    """`tollway` itself; what stands under it is in `commands`."""
    return typer.main.get_command(main.app)


def flags() -> dict[str, Any]:
    """Every flag of serving, by each of its names."""
    return {name: flag for flag in command().params for name in flag.opts}


def test_every_flag_has_its_row_and_every_row_a_flag() -> None:
    flag_rows = [row for row in rows("docs/configuration.md", "Command line") if row[0].startswith("`-")]
    written = [name for row in flag_rows for name in CODE.findall(row[0])]
    assert sorted(written) == sorted({*flags(), "--help", "-h"})


def test_every_flag_is_written_with_its_variables() -> None:
    known = flags()
    switches = {"--debug": "DEBUG", "--detailed_debug": "DETAILED_DEBUG", "--json_logs": "JSON_LOGS"}
    for row in rows("docs/configuration.md", "Command line"):
        if not row[0].startswith("`-"):
            continue
        expected = []
        for name in CODE.findall(row[0]):
            variables = known[name].envvar if name in known else None
            expected += [variables] if isinstance(variables, str) else list(variables or ())
            expected += [switches[name]] if name in switches else []
        assert CODE.findall(row[1]) == list(dict.fromkeys(expected)), row[0]


def test_every_command_has_its_row_with_its_own_commands() -> None:
    told = {row[0].strip("`"): row[1] for row in rows("docs/configuration.md", "Command line") if "`tollway " in row[0]}
    assert {name.split()[1] for name in told} == set(command().commands)
    for name, about in told.items():
        inner = getattr(command().commands[name.split()[1]], "commands", None)
        if inner is not None:
            assert sorted(CODE.findall(about.partition(":")[0])) == sorted(inner)


# --- docs/api.md ---------------------------------------------------------------------------------------------------


def test_every_managed_path_has_its_row_with_who_may_call_it() -> None:
    word = {
        Access.ADMIN: "master key",
        Access.VIEWER: "viewer",
        Access.OWN: "role",
        Access.SPEND: "spend",
        Access.OWN_SPEND: "own spend",
        Access.KEY: "any key",
        Access.PUBLIC: "everybody",
    }
    told = {path: row[1] for row in rows("docs/api.md", "Management") for path in CODE.findall(row[0])}
    assert told == {f"{route.method} {route.path}": word[route.access] for route in ROUTES}


def test_every_path_of_models_has_its_row() -> None:
    told = names("docs/api.md", "Calling models")
    about = section("docs/api.md", "Calling models")
    served = {f"POST {path}" for path in dispatch.EXACT if path.startswith("/v1/")}
    served |= {f"POST /v1beta/models/{{model}}:{method}" for method in gemini.METHODS}
    served |= {f"{method} /v1/responses/{{id}}{below}" for method, below in responses.BELOW} | {"GET /v1/responses"}
    served.add(f"GET {realtime.PATHS[0]}")
    assert set(told) == served | {"GET /v1/models", "GET /v1/models/{model}"}
    for path in dispatch.EXACT.keys() - {path.removeprefix("POST ") for path in served}:
        bare = path.removeprefix("/openai/v1")
        assert f"POST /v1{bare}" in served or f"`{path}`" in about, path
    for prefix in (*openai.MODEL_PREFIXES, *models.PREFIXES):
        assert f"`{prefix}" in about or f"{prefix}`" in about, prefix


def test_every_path_of_realtime_and_every_family_that_passes_through_is_named() -> None:
    about = section("docs/api.md", "Realtime")
    assert all(f"`{path}" in about for path in realtime.PATHS[1:])
    told = {name.split("/")[1] for name in names("docs/api.md", "Providers' own APIs")}
    assert told == set(pass_through.FAMILIES)
    assert all(f"`/{alias}/" in section("docs/api.md", "Providers' own APIs") for alias in pass_through.ALIASES)


def kinds(kind: type[errors.PublicError]) -> Iterator[type[errors.PublicError]]:
    for one in kind.__subclasses__():
        if one.__module__ == errors.__name__:
            yield one
            yield from kinds(one)


def test_every_error_has_its_row_with_status_and_type() -> None:
    told = {name.strip("`"): (int(status), kind.strip("`")) for name, status, kind, _ in rows("docs/api.md", "Errors")}
    classes = {kind.__name__: (kind.status, kind.type) for kind in kinds(errors.PublicError)}
    del classes["Rejection"]  # always one of those below it
    assert told == classes


def test_every_answer_header_has_its_row_and_every_row_a_header() -> None:
    written_in = (
        "gateway.py",
        "dispatch.py",
        "snapshot.py",
        "admin/spend.py",
        "policies/limit_rate.py",
        "operations/generate.py",
    )
    code = "\n".join((SOURCE / name).read_text(encoding="utf-8") for name in written_in)
    own = set(re.findall(r"\bx-(?:litellm|tollway|should)-[a-z-]*[a-z]", code))
    told = {name for row in rows("docs/api.md", "Answer headers") for cell in row for name in CODE.findall(cell)}
    assert own <= told
    for name in names("docs/api.md", "Answer headers"):
        assert name.rstrip("*") in code, name


def test_every_field_for_the_gateway_has_its_row_and_every_row_a_field() -> None:
    assert set(names("docs/api.md", "Fields for the gateway")) == operations.GATEWAY_FIELDS
    about = section("docs/api.md", "Fields for the gateway")
    assert set(CODE.findall(about)) >= operations.REFUSED_FIELDS
    (without_effect,) = (row[0] for row in rows("docs/api.md", "Fields for the gateway") if "without effect" in row[1])
    assert set(CODE.findall(without_effect)) == set(operations.WITHOUT_EFFECT)


def test_every_field_of_a_key_that_is_obeyed_has_its_row() -> None:
    obeyed = key_requests.GenerateKeyRequest.model_fields.keys() - key_requests._REFUSED
    assert set(names("docs/api.md", "Keys")) >= obeyed
    assert set(CODE.findall(" ".join(row[0] for row in rows("docs/api.md", "Keys")))) == obeyed


# --- docs/operations.md --------------------------------------------------------------------------------------------


def test_every_file_that_is_written_is_named() -> None:
    told = set(names("docs/operations.md", "Files"))
    assert {places.DATA_FILE, places.MASTER_KEY_FILE, f"{places.BODIES_FOLDER}/", "journal/"} <= told


# --- README.md and all pages ---------------------------------------------------------------------------------------


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text_of(page), re.MULTILINE | re.DOTALL)


def test_the_configuration_in_the_readme_is_read_without_a_warning(tmp_path: Path) -> None:
    (example,) = blocks("README.md", "yaml")
    path = tmp_path / "config.yaml"
    path.write_text(example, encoding="utf-8")
    keys = dict.fromkeys(("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "LITELLM_MASTER_KEY"), "sk-of-nobody")
    config = load(str(path), environ=keys, provider_variables=registry.variables())
    assert [entry.model_name for entry in config.models] == ["claude-opus-4-6", "gpt-4o"]
    assert config.routing.fallbacks == {"claude-opus-4-6": ("gpt-4o",)}
    assert config.warnings == ()


@pytest.mark.parametrize("page", ["README.md", "docs/configuration.md", "docs/operations.md"])
def test_commands_on_the_pages_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", text_of("Makefile"), re.MULTILINE))
    lines = [line.split("#")[0].strip() for block in blocks(page, "bash") for line in block.splitlines()]
    lines += CODE.findall(re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL))
    for words in (line.split() for line in lines):
        if words[:1] == ["make"] and len(words) > 1:
            assert words[1] in targets, words
        if words[:1] == ["tollway"] and len(words) > 1:
            known = (
                words[1].partition("=")[0] in flags() if words[1].startswith("-") else words[1] in command().commands
            )
            assert known, words


def anchors(page: Path) -> set[str]:
    """The names that a page's headings have in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_page_or_a_heading_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"docs/[\w.-]+\.md", text_of("README.md")))
    assert linked >= {f"docs/{page.name}" for page in PAGES if page.parent.name == "docs"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_speaks_of_somebodys_machine(page: Path) -> None:
    assert not re.findall(r"(?:/work|/root|/home/\w+|/Users/\w+|/tmp)/[\w.]+", page.read_text(encoding="utf-8"))
