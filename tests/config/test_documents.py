from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Secret
from tollway.config import load
from tollway.config.documents import FILE_BYTES_MAX, read_document
from tollway.config.findings import Findings, Place
from tollway.config.nodes import Node

Writes = Callable[[str, str], None]


def contents(node: Node) -> Any:
    if isinstance(node.content, dict):
        return {key: contents(child) for key, child in node.content.items()}
    if isinstance(node.content, list):
        return [contents(child) for child in node.content]
    return node.content


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [1, 2\nb: 3\n", "config.yaml:2: this is not YAML: did not find expected ',' or ']'"),
        ("general_settings:\n\tmaster_key: x\n", "config.yaml:2: this is not YAML: found character that cannot start any token"),
        ("a: 1\n---\nb: 2\n", "config.yaml:2: this is not YAML: but found another document"),
        ("- model_list\n", "config.yaml:1: a configuration is a mapping: `model_list:` and other sections"),
        ("just text", "config.yaml:1: a configuration is a mapping: `model_list:` and other sections"),
        ("x-a: *nobody\n", "config.yaml:1: this is not YAML: found undefined alias (a value that begins with * needs quotes)"),
        ("x-a: !!python/object:os.system {}\nx-b: !!python/name:os.system x\n",
         "config.yaml:2: x-b has a YAML tag without meaning here (a value that begins with ! needs quotes)"),
        ("x-a: !do-not-show\n", "config.yaml:1: x-a has a YAML tag without meaning here (a value that begins with ! needs quotes)"),
        ("x-a: !do!not-show\n", "config.yaml:1: this is not YAML: found undefined tag handle"),
        ("x-a: 1\nx-b: \x07\n", "config.yaml:2: this is not YAML: the character 0x7 is not allowed"),
        ("x-a: !!int twelve\n", "config.yaml:1: x-a is marked as int, but its value is none"),
        ("x-a: .inf\n", "config.yaml:1: x-a is marked as float, but its value is none"),
        ("[a, b]: 1\n", "config.yaml:1: a key in the file should be text"),
        ("x-a: {<<: 3}\n", "config.yaml:1: x-a.<< should name a mapping"),
    ],
)  # fmt: skip
def test_what_is_not_yaml_is_refused_with_its_line(problems: Any, text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_text_that_is_not_utf_8_is_refused_with_its_line(problems: Any, directory: Path) -> None:
    (directory / "config.yaml").write_bytes(b"x-a: 1\nx-b: \xff\n")
    with pytest.raises(Exception, match=r"config\.yaml:2: this is not UTF-8 text"):
        load("config.yaml", environ={})


def test_a_key_that_stands_twice_is_refused_with_both_lines(problems: Any) -> None:
    text = """\
        general_settings:
          master_key: sk-do-not-show-one
          max_request_size_mb: 1
          master_key: sk-do-not-show-two
        router_settings: {}
        router_settings: {}
        """
    assert problems(text) == [
        "config.yaml:4: general_settings.master_key stands twice; the first is at config.yaml:2",
        "config.yaml:6: router_settings stands twice; the first is at config.yaml:5",
    ]


def test_anchors_and_merges_work_and_what_is_written_wins(read: Any) -> None:
    config = read(
        """
        x-defaults: &defaults
          api_base: http://127.0.0.1:1/v1
          rpm: 5
        model_list:
          - model_name: a
            litellm_params: {<<: *defaults, model: openai/a, rpm: 7}
          - model_name: b
            litellm_params:
              <<: [*defaults, {tpm: 9}]
              model: openai/b
        """
    )
    assert [(entry.api_base, entry.rpm, entry.tpm) for entry in config.models] == [
        ("http://127.0.0.1:1/v1", 7, None),
        ("http://127.0.0.1:1/v1", 5, 9),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "x-a: &a [*a]",
        "x-a: &a {<<: *a}",
        "x-a: &a {<<: [*a, *a]}",
        "x-0: &x0 [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"x-{i}: &x{i} [{','.join([f'*x{i - 1}'] * 10)}]\n" for i in range(1, 12)),
        "x-a: " + "[" * 100 + "]" * 100,
        "x-a: " + "[" * 100_000,
        "x-a: " + "{a: " * 100_000,
    ],
)
def test_a_file_cannot_grow_without_bound(problems: Any, text: str) -> None:
    assert problems(text) == ["config.yaml: more than 64 levels or 500000 values, aliases counted each time"]


def test_a_file_that_is_too_large_is_refused(problems: Any) -> None:
    assert problems("#" * (FILE_BYTES_MAX + 1)) == ["config.yaml: the file is larger than 16 MB"]


def test_numbers_keep_their_source_and_dates_stay_text(write: Writes) -> None:
    write("{price: 2.50e-06, tiny: 1e-6, date: 2024-02-01, quoted: '1e-6', hex: 0x10, yes: on}", "config.yaml")
    root = read_document("config.yaml", Findings()).root
    assert {key: child.text for key, child in root.content.items()} == {
        "price": "2.50e-06",
        "tiny": "1e-6",
        "date": "2024-02-01",
        "quoted": "1e-6",
        "hex": "0x10",
        "yes": "on",
    }
    assert contents(root) == {
        "price": 2.5e-06, "tiny": 1e-6, "date": "2024-02-01", "quoted": "1e-6", "hex": 16, "yes": True,
    }  # fmt: skip


def test_included_lists_are_added_and_mappings_replaced(write: Writes, directory: Path) -> None:
    write(
        """\
        include: [parts/models.yaml, parts/settings.yaml]
        model_list:
          - {model_name: a, litellm_params: {model: openai/a}}
        litellm_settings: {num_retries: 1, drop_params: true}
        """,
        "config.yaml",
    )
    write(
        "include: [more/deep.yaml, models.yaml]\nmodel_list: [{model_name: b, litellm_params: {model: openai/b}}]\n",
        "parts/models.yaml",
    )
    write(
        "include: [../../config.yaml]\nmodel_list: [{model_name: c, litellm_params: {model: openai/c}}]\n",
        "parts/more/deep.yaml",
    )
    write("litellm_settings: {num_retries: 5}\nrouter_settings:\n", "parts/settings.yaml")
    config = load("config.yaml", environ={})
    assert [(entry.model_name, entry.place) for entry in config.models] == [
        ("a", "config.yaml:3"),
        ("b", "parts/models.yaml:2"),
        ("c", "parts/more/deep.yaml:2"),
    ]
    assert (config.routing.retries, config.params.drop_params) == (5, None)
    assert config.sources["routing.retries"] == "parts/settings.yaml:1"
    assert config.warnings == (
        "parts/settings.yaml:1: litellm_settings replaces all of litellm_settings at config.yaml:4",
    )
    assert config.files == tuple(
        str(directory / name)
        for name in ("config.yaml", "parts/models.yaml", "parts/more/deep.yaml", "parts/settings.yaml")
    )
    assert config.config_path == str(directory / "config.yaml")


@pytest.mark.parametrize(
    ("include", "problem"),
    [
        ("a.yaml", "config.yaml:1: include should be a list of file names"),
        ("[{a: b}]", "config.yaml:1: include[0] should be a file name"),
        ("[gone.yaml]", "config.yaml:1: gone.yaml: No such file or directory"),
        ('["a\\0b"]', r"config.yaml:1: 'a\x00b' is not the name of a file"),
        ("[.]", "config.yaml:1: .: Is a directory"),
        ("[broken.yaml]", "broken.yaml:2: this is not YAML: could not find expected ':'"),
    ],
)
def test_an_include_that_cannot_be_followed_is_a_problem(
    problems: Any, write: Writes, include: str, problem: str
) -> None:
    write("a: 1\nbroken\n", "broken.yaml")
    assert problems(f"include: {include}") == [problem]


def test_more_than_a_hundred_files_are_refused(write: Writes, problems: Any) -> None:
    for i in range(101):
        write("", f"{i}.yaml")
    (found,) = problems("include: [" + ", ".join(f"{i}.yaml" for i in range(101)) + "]")
    assert found == "config.yaml:1: more than 100 files are included"


def test_a_link_is_kept_as_it_was_named(directory: Path) -> None:
    (directory / "v1").mkdir()
    (directory / "v1" / "config.yaml").write_text("")
    (directory / "config.yaml").symlink_to("v1/config.yaml")
    assert load("config.yaml", environ={}).files == (str(directory / "config.yaml"),)


def test_environment_variables_are_filled_in_at_any_depth(read: Any) -> None:
    config = read(
        """
        model_list:
          - model_name: os.environ/NAME
            litellm_params:
              model: openai/x
              rpm: os.environ/RPM
              drop_params: os.environ/DROP
              tags: [os.environ/TAG, os.environ/NOWHERE, fixed]
              extra_body: {deep: [{er: os.environ/TAG}]}
              user: "not os.environ/TAG"
              timeout: os.environ/EMPTY
        """,
        {"NAME": "gpt", "RPM": "12", "DROP": "True", "TAG": "blue", "EMPTY": ""},
    )
    (entry,) = config.models
    assert (entry.model_name, entry.rpm, entry.drop_params, entry.tags) == ("gpt", 12, True, ("blue", "fixed"))
    assert entry.extra_body == {"deep": [{"er": "blue"}]}
    assert entry.defaults == {"user": "not os.environ/TAG"}
    assert entry.timeout_s is None


def test_a_variable_of_the_wrong_type_is_named_and_not_shown(problems: Any) -> None:
    text = "litellm_settings: {num_retries: os.environ/RETRIES, request_timeout: os.environ/TIMEOUT}"
    assert problems(text, {"RETRIES": "do-not-show-this", "TIMEOUT": "true"}) == [
        (
            "config.yaml:1: litellm_settings.num_retries should be a whole number; the value is that of the environment "
            "variable RETRIES"
        ),
        (
            "config.yaml:1: litellm_settings.request_timeout should be a number above 0; the value is that of the "
            "environment variable TIMEOUT"
        ),
    ]


def test_a_key_that_says_true_is_text_all_the_same(read: Any) -> None:
    text = "model_list: [{model_name: a, litellm_params: {model: openai/a, api_key: os.environ/K}}]"
    assert read(text, {"K": "true"}).models[0].api_key == Secret("true")


def test_places_show_themselves_as_file_and_line() -> None:
    assert [str(Place("a.yaml", 3)), str(Place("environment"))] == ["a.yaml:3", "environment"]
