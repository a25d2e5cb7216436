from __future__ import annotations

import pytest

from tollway.endpoints.responses import RECENT_BYTES_MAX, RECENT_MAX, Recent, with_id
from tollway.storage.responses import KeptResponse


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("GET", "/v1/responses/resp_1", ("responses_retrieve", "resp_1")),
        ("DELETE", "/responses/resp_1", ("responses_delete", "resp_1")),
        ("POST", "/openai/responses/resp_1/cancel", ("responses_cancel", "resp_1")),
        ("GET", "/openai/v1/responses/resp_1/input_items", ("responses_input_items", "resp_1")),
        ("POST", "/v1/responses/resp_1", None),
        ("GET", "/v1/responses/", None),
        ("GET", "/v1/responses/resp_1/", None),
        ("GET", "/v1/responses/resp_1/other", None),
        ("GET", "/v2/responses/resp_1", None),
    ],
)
def test_a_path_with_an_id_means_what_its_method_says(method: str, path: str, found: tuple[str, str] | None) -> None:
    assert with_id(method, path) == found


def test_a_connection_remembers_its_last_responses_within_bounds() -> None:
    recent = Recent()
    for number in range(9):
        recent[f"resp_{number}"] = KeptResponse("", "m", number)
    assert list(recent) == [f"resp_{number}" for number in range(9 - RECENT_MAX, 9)]
    recent["large"] = KeptResponse("", "m", 1, "", b"x" * RECENT_BYTES_MAX)
    assert list(recent) == ["large"]
