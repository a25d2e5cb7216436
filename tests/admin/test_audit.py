"""Every change that is made through the management API leaves a row in the audit log, and no row holds a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from tollway.admin.application import ROUTES
from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config
from tollway.storage import LeaseWant
from tollway.storage.people import TEAM_SCOPE, AuditFilter
from tollway.testing.gateway import MASTER_KEY, MODEL, SmallGateway, model_entry

#: Asked with POST, and nothing is changed.
LOOKING = {
    *("POST /key/health", "POST /v2/key/info", "POST /organization/info", "POST /budget/info", "POST /tag/info"),
    *(
        "POST /spend/calculate",
        "POST /global/spend/end_users",
        "POST /utils/transform_request",
        "POST /utils/token_counter",
    ),
    "POST /health/test_connection",
}
KEY = "sk-a-key-that-is-told-to-nobody"
PROVIDERS_KEY = "sk-of-a-provider-that-is-told-to-nobody"
MODEL_ID = "11111111-2222-3333-4444-555555555555"
WANT = LeaseWant(
    scope=TEAM_SCOPE, id="t", period_start_us=0, limit_nano=100, granted_nano=0, least_nano=100, more_nano=100
)

#: (route, body) in the order of a day. `$` in a body is the invitation that was made.
DAY: list[tuple[str, Any]] = [
    ("POST /key/generate", {"key": KEY, "key_alias": "one"}),
    ("POST /key/update", {"key": KEY, "max_budget": 5}),
    ("POST /key/bulk_update", {"keys": [{"key": KEY, "max_budget": 6}]}),
    ("POST /key/block", {"key": KEY}),
    ("POST /key/unblock", {"key": KEY}),
    ("POST /key/{key}/reset_spend", {"reset_to": 0}),
    ("POST /key/{key}/regenerate", {"new_key": KEY + "-2"}),
    ("POST /key/regenerate", {"key": KEY + "-2", "new_key": KEY + "-3"}),
    ("POST /key/delete", {"keys": [KEY + "-3"]}),
    ("POST /organization/new", {"organization_id": "acme", "organization_alias": "acme", "max_budget": 9}),
    ("PATCH /organization/update", {"organization_id": "acme", "max_budget": 8}),
    ("POST /user/new", {"user_id": "ann", "user_email": "ann@example.com", "password": "a long pass phrase of hers"}),
    ("POST /user/update", {"user_id": "ann", "max_budget": 5}),
    ("POST /user/bulk_update", {"users": [{"user_id": "ann", "max_budget": 6}]}),
    (
        "POST /organization/member_add",
        {"organization_id": "acme", "member": {"role": "internal_user", "user_id": "ann"}},
    ),
    ("PATCH /organization/member_update", {"organization_id": "acme", "user_id": "ann", "role": "org_admin"}),
    ("DELETE /organization/member_delete", {"organization_id": "acme", "user_id": "ann"}),
    ("DELETE /organization/delete", {"organization_ids": ["acme"]}),
    ("POST /team/new", {"team_id": "core"}),
    ("POST /key/service-account/generate", {"team_id": "core", "key_alias": "service"}),
    ("POST /team/update", {"team_id": "core", "max_budget": 5}),
    ("POST /team/block", {"team_id": "core"}),
    ("POST /team/unblock", {"team_id": "core"}),
    (
        "POST /team/member_add",
        {"team_id": "core", "member": {"role": "user", "user_id": "ann"}, "max_budget_in_team": 1},
    ),
    ("POST /team/bulk_member_add", {"team_id": "core", "members": [{"user_id": "bob"}]}),
    ("POST /team/member_update", {"team_id": "core", "user_id": "ann", "role": "admin"}),
    ("POST /team/member_delete", {"team_id": "core", "user_id": "ann"}),
    ("POST /team/model/add", {"team_id": "core", "models": [MODEL, "other"]}),
    ("POST /team/model/delete", {"team_id": "core", "models": ["other"]}),
    ("POST /team/permissions_update", {"team_id": "core", "team_member_permissions": ["/key/list"]}),
    ("POST /team/permissions_bulk_update", {"team_ids": ["core"], "permissions": ["/key/info"]}),
    ("POST /team/delete", {"team_ids": ["core"]}),
    ("POST /user/delete", {"user_ids": ["bob"]}),
    *(
        one
        for prefix in ("customer", "end_user")
        for one in (
            (f"POST /{prefix}/new", {"user_id": "c1", "max_budget": 5}),
            (f"POST /{prefix}/update", {"user_id": "c1", "alias": "one"}),
            (f"POST /{prefix}/block", {"user_ids": ["c1"]}),
            (f"POST /{prefix}/unblock", {"user_ids": ["c1"]}),
            (f"POST /{prefix}/delete", {"user_ids": ["c1"]}),
        )
    ),
    ("POST /budget/new", {"budget_id": "b1", "max_budget": 1}),
    ("POST /budget/update", {"budget_id": "b1", "max_budget": 2}),
    ("POST /budget/delete", {"id": "b1"}),
    ("POST /tag/new", {"name": "t1", "max_budget": 1}),
    ("POST /tag/update", {"name": "t1", "description": "more"}),
    ("POST /tag/delete", {"name": "t1"}),
    (
        "POST /credentials",
        {"credential_name": "cr", "credential_values": {"api_key": PROVIDERS_KEY}, "credential_info": {}},
    ),
    ("PATCH /credentials/{name}", {"credential_values": {"api_key": PROVIDERS_KEY + "2"}, "credential_info": {}}),
    ("DELETE /credentials/{name}", None),
    (
        "POST /model/new",
        {
            "model_name": "added",
            "litellm_params": {"model": "openai/gpt-4o", "api_key": PROVIDERS_KEY},
            "model_info": {"id": MODEL_ID},
        },
    ),
    ("POST /model/update", {"model_info": {"id": MODEL_ID}, "litellm_params": {"rpm": 5}}),
    ("PATCH /model/{id}/update", {"litellm_params": {"rpm": 6}}),
    ("POST /tollway/deployments/release", {"model_id": MODEL_ID}),
    ("POST /model/delete", {"id": MODEL_ID}),
    ("POST /global/spend/reset", None),
    ("POST /tollway/leases/release", {"worker": "7"}),
    ("POST /invitation/new", {"user_id": "ann"}),
    ("POST /invitation/update", {"invitation_id": "$", "is_accepted": True}),
    ("POST /invitation/delete", {"invitation_id": "$"}),
]


def test_every_route_that_changes_something_is_in_the_day() -> None:
    changing = {f"{route.method} {route.path}" for route in ROUTES if route.method != "GET"} - LOOKING
    assert {route for route, _ in DAY} == changing


async def test_every_change_has_its_row_and_no_row_has_a_secret(tmp_path: Path) -> None:
    access = AccessSettings(master_key=Secret(MASTER_KEY), salt_key=Secret("a salt that nobody else knows"))
    async with SmallGateway(tmp_path, [model_entry()], config=Config(access=access)) as gateway:
        people, rows, made = gateway.storage.people, 0, ""
        for route, body in DAY:
            if route == "POST /tollway/leases/release":
                await gateway.storage.leases.lease(7, [WANT], workers=1)
            method, path = route.split(" ")
            path = path.replace("{key}", KEY).replace("{name}", "cr").replace("{id}", MODEL_ID)
            answer = await gateway.ask(
                method=method,
                path=path,
                headers={"content-type": "application/json"},
                body=b"" if body is None else msgspec.json.encode(body).replace(b'"$"', b'"%b"' % made.encode()),
            )
            assert answer.status == 200, (route, answer.body)
            if route == "POST /invitation/new":
                made = answer.json()["id"]
            entries, total = await people.audit(AuditFilter(), limit=1)
            assert total > rows, route
            assert entries[0].actor == "default_user_id"
            rows = total
        entries, _ = await people.audit(AuditFilter(), limit=rows)
    written = json.dumps([msgspec.to_builtins(entry) for entry in entries])
    for secret in (KEY, PROVIDERS_KEY, "pass phrase", MASTER_KEY):
        assert secret not in written
