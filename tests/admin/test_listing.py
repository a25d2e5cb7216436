"""Lists by pages: what is searched, sorted, counted, and for whom; and what one of them spent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tollway.admin import schema
from tollway.admin.listing import fits, in_order, page_facts, page_of
from tollway.errors import BadRequest
from tollway.testing.gateway import MASTER_KEY, MODEL, SmallGateway, chat_reply, model_entry

from .test_people import CALL_USD, Manager


@pytest.fixture
async def manage(tmp_path: Path) -> AsyncIterator[Manager]:
    async with SmallGateway(tmp_path, [model_entry()]) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        yield Manager(gateway)


def told(place: str, found: Any) -> Any:
    """What was found, after the schema's own types have read it."""
    msgspec.json.decode(msgspec.json.encode(found), type=schema.ANSWERS[place])
    return found


# --- the pieces


def test_what_has_no_value_comes_last_in_both_directions() -> None:
    sorts = {"size": lambda pair: pair[1]}
    found = [("a", 2), ("b", None), ("c", 1)]
    assert [name for name, _ in in_order(found, sorts, None, "asc", default="size")] == ["c", "a", "b"]
    assert [name for name, _ in in_order(found, sorts, "size", "desc", default="size")] == ["a", "c", "b"]
    with pytest.raises(BadRequest, match="Use one of: size"):
        in_order(found, sorts, "colour", "asc", default="size")


def test_a_search_looks_into_every_name_and_an_empty_one_finds_all() -> None:
    assert fits("LOVE", "ada", None, "Lovelace")
    assert not fits("love", "ada", None)
    assert fits(None)
    assert fits("  ", "ada")


def test_pages_are_cut_and_counted() -> None:
    assert list(page_of(range(7), 2, 3)) == [3, 4, 5]
    assert list(page_of(range(7), 9, 3)) == []
    assert page_facts(7, 2, 3) == {"total": 7, "page": 2, "page_size": 3, "total_pages": 3}
    assert page_facts(0, 1, 3)["total_pages"] == 0


# --- teams and users


async def test_teams_are_found_by_alias_or_id_with_their_members_and_keys_counted(manage: Manager) -> None:
    await manage("POST /organization/new", {"organization_id": "o1", "organization_alias": "Acme"})
    for name, alias in (("t1", "Alpha"), ("t2", "beta"), ("t3", None)):
        await manage("POST /team/new", {"team_id": name, "team_alias": alias, "organization_id": "o1"})
    await manage("POST /team/member_add", {"team_id": "t1", "member": {"user_id": "bob", "role": "user"}})
    key = (await manage("POST /key/generate", {"team_id": "t2"}))["key"]
    assert await manage.call(key) == 200
    page = told("GET /v2/team/list", await manage("GET /v2/team/list", search="ALPH"))
    (alpha,) = page["teams"]
    assert (alpha["team_id"], alpha["members_count"], alpha["keys_count"]) == ("t1", 2, 0)
    assert alpha["organization_alias"] == "Acme"
    assert [one["team_id"] for one in (await manage("GET /v2/team/list", search="t"))["teams"]] == ["t1", "t2", "t3"]
    by_name = await manage("GET /v2/team/list", sort_by="team_alias", sort_order="desc")
    assert [one["team_id"] for one in by_name["teams"]] == ["t2", "t1", "t3"]
    by_spend = await manage("GET /v2/team/list", sort_by="spend", sort_order="desc", page_size=1)
    assert (by_spend["teams"][0]["team_id"], by_spend["teams"][0]["keys_count"]) == ("t2", 1)
    assert (by_spend["total"], by_spend["total_pages"]) == (3, 3)
    refused = await manage("GET /v2/team/list", sort_by="colour", status=400)
    assert "team_alias" in refused["error"]["message"]
    await manage("GET /v2/team/list", page_size=101, status=422)
    told("GET /team/info", await manage("GET /team/info", team_id="t1"))
    told("GET /team/permissions_list", await manage("GET /team/permissions_list", team_id="t1"))
    told("GET /team/list", await manage("GET /team/list"))


async def test_users_are_found_by_id_alias_or_address_with_their_teams(manage: Manager) -> None:
    made = await manage("POST /user/new", {"user_id": "u1", "user_email": "ada@x.com", "user_alias": "Countess"})
    told("POST /user/new", made)
    await manage("POST /user/new", {"user_id": "u2", "auto_create_key": False, "user_role": "internal_user"})
    await manage("POST /team/new", {"team_id": "t1", "members_with_roles": [{"user_id": "u2"}]})
    for wanted in ("U1", "ADA@", "count"):
        page = told("GET /user/list", await manage("GET /user/list", search=wanted))
        assert [(one["user_id"], one["key_count"]) for one in page["users"]] == [("u1", 1)]
    (second,) = (await manage("GET /user/list", team="t1"))["users"]
    assert (second["user_id"], second["teams"]) == ("u2", ["t1"])
    assert (await manage("GET /user/list", team="nowhere"))["total"] == 0
    by_address = await manage("GET /user/list", sort_by="user_email", sort_order="desc")
    assert [one["user_id"] for one in by_address["users"]] == ["u1", "u2"]
    told("GET /user/info", await manage("GET /user/info", user_id="u1"))


# --- lists that are whole with LiteLLM


async def test_organisations_come_by_pages_where_a_page_is_asked_for(manage: Manager) -> None:
    for name in ("o1", "o2", "o3"):
        made = {"organization_id": name, "organization_alias": f"Org {name}", "max_budget": 5}
        told("POST /organization/new", await manage("POST /organization/new", made))
    await manage("POST /team/new", {"team_id": "t1", "organization_id": "o2"})
    member = {"user_id": "bob", "role": "org_admin"}
    await manage("POST /organization/member_add", {"organization_id": "o2", "member": member})
    whole = told("GET /organization/list", await manage("GET /organization/list"))
    assert [len(one["teams"]) for one in whole] == [0, 1, 0]
    page = told("GET /organization/list", await manage("GET /organization/list", page=1, page_size=2))
    assert (page["total"], page["total_pages"]) == (3, 2)
    first, second = page["organizations"]
    assert (first["teams_count"], first["members_count"]) == (0, 0)
    assert (second["teams_count"], second["members_count"]) == (1, 1)
    assert "teams" not in second
    found = await manage("GET /organization/list", page=1, search="org%20O3")
    assert [one["organization_id"] for one in found["organizations"]] == ["o3"]
    admin = (await manage("POST /key/generate", {"user_id": "bob"}))["key"]
    own = await manage("GET /organization/list", page=1, key=admin)
    assert [one["organization_id"] for one in own["organizations"]] == ["o2"]


async def test_a_page_of_budgets_leaves_out_those_of_one_alone_and_names_who_is_held(manage: Manager) -> None:
    await manage("POST /budget/new", {"budget_id": "shared", "max_budget": 3})
    await manage("POST /customer/new", {"user_id": "own", "max_budget": 9})  # makes a budget of its own
    await manage("POST /customer/new", {"user_id": "c1", "alias": "One", "budget_id": "shared"})
    await manage("POST /tag/new", {"name": "t1", "budget_id": "shared"})
    await manage(
        "POST /organization/new", {"organization_id": "o1", "organization_alias": "Acme", "budget_id": "shared"}
    )
    await manage("POST /key/generate", {"key_alias": "k1", "budget_id": "shared"})
    await manage("POST /key/generate", {"key_alias": "k2"})
    assert len(told("GET /budget/list", await manage("GET /budget/list"))) == 2
    page = told("GET /budget/list", await manage("GET /budget/list", page=1))
    assert [(one["budget_id"], one["keys"]) for one in page["budgets"]] == [("shared", None)]
    (held,) = told("GET /budget/list", await manage("GET /budget/list", page=1, budget_id="shared"))["budgets"]
    assert [one["key_alias"] for one in held["keys"]] == ["k1"]
    assert held["end_users"] == [{"user_id": "c1", "alias": "One"}]
    assert held["tags"] == [{"tag_name": "t1"}]
    assert held["organization"] == [{"organization_id": "o1", "organization_alias": "Acme"}]
    assert (held["keys_count"], held["team_membership_count"]) == (1, 0)
    assert (await manage("GET /budget/list", page=1, budget_id="gone"))["total"] == 0


async def test_a_page_of_customers_says_who_is_registered_and_blocked(manage: Manager) -> None:
    await manage("POST /customer/new", {"user_id": "registered", "alias": "Known"})
    assert await manage.call(MASTER_KEY, user="stranger") == 200
    page = told("GET /customer/list", await manage("GET /customer/list", page=1, sort_by="spend", sort_order="desc"))
    assert [(one["user_id"], one["registered"], one["spend"]) for one in page["customers"]] == [
        ("stranger", False, CALL_USD),
        ("registered", True, 0.0),
    ]
    await manage("POST /customer/block", {"user_ids": ["stranger"]})
    blocked = await manage("GET /customer/list", page=1, blocked="true")
    assert [one["user_id"] for one in blocked["customers"]] == ["stranger"]
    assert (await manage("GET /customer/list", page=1, search="KNOWN"))["total"] == 1
    told("GET /customer/list", await manage("GET /customer/list"))


async def test_a_page_of_tags_says_what_was_spent_under_each(manage: Manager) -> None:
    await manage("POST /tag/new", {"name": "made", "max_budget": 1})
    assert await manage.call(MASTER_KEY, tags=["brought"]) == 200
    page = told("GET /tag/list", await manage("GET /tag/list", page=1, sort_by="spend", sort_order="desc"))
    assert [(one["name"], one["registered"], one["spend"]) for one in page["tags"]] == [
        ("brought", False, CALL_USD),
        ("made", True, 0.0),
    ]
    assert (await manage("GET /tag/list", page=1, search="MAD"))["total"] == 1
    told("GET /tag/list", await manage("GET /tag/list"))


# --- what one spent


async def test_the_spend_of_one_comes_by_day_model_user_and_key(manage: Manager) -> None:
    await manage("POST /user/new", {"user_id": "u1", "user_email": "ada@x.com", "auto_create_key": False})
    await manage("POST /team/new", {"team_id": "t1", "team_alias": "Alpha", "members_with_roles": [{"user_id": "u1"}]})
    fields = {"key_alias": "k1", "team_id": "t1", "user_id": "u1"}
    key = (await manage("POST /key/generate", fields))["key"]
    other = (await manage("POST /key/generate", {"key_alias": "k2"}))["key"]
    assert [await manage.call(one) for one in (key, key, other)] == [200, 200, 200]
    for name, value in (("team_id", "t1"), ("user_id", "u1")):
        found = told("GET /ui/api/spend", await manage("GET /ui/api/spend", **{name: value}))
        assert len(found["days"]) == 30
        assert sum(day["spend"] for day in found["days"]) == 2 * CALL_USD
        assert [(one["name"], one["spend"], one["calls"]) for one in found["models"]] == [(MODEL, 2 * CALL_USD, 2)]
        assert [(one["name"], one["alias"]) for one in found["users"]] == [("u1", "ada@x.com")]
        assert [(one["name"], one["alias"]) for one in found["teams"]] == [("t1", "Alpha")]
        assert [one["alias"] for one in found["keys"]] == ["k1"]
    refused = await manage("GET /ui/api/spend", team_id="t1", user_id="u1", status=400)
    assert "Name one" in refused["error"]["message"]
    await manage("GET /ui/api/spend", status=400)
    await manage("GET /ui/api/spend", team_id="t1", start="2026-01-02", end="2026-01-01", status=400)


async def test_the_spend_of_others_is_not_for_everybody_to_see(manage: Manager) -> None:
    await manage("POST /organization/new", {"organization_id": "o1", "organization_alias": "Acme"})
    for user in ("admin", "plain", "viewer"):
        role = "proxy_admin_viewer" if user == "viewer" else "internal_user"
        await manage("POST /user/new", {"user_id": user, "user_role": role, "auto_create_key": False})
    members = [{"user_id": "admin", "role": "admin"}, {"user_id": "plain", "role": "user"}]
    await manage("POST /team/new", {"team_id": "t1", "organization_id": "o1", "members_with_roles": members})
    admin, plain, viewer = [
        (await manage("POST /key/generate", {"user_id": user}))["key"] for user in ("admin", "plain", "viewer")
    ]
    for key, kind in ((MASTER_KEY, "unrestricted"), (admin, "team_admin"), (plain, "none"), (viewer, "none")):
        found = told("GET /team/info", await manage("GET /team/info", key=key, team_id="t1"))
        assert found["team_info"]["caller_edit_access"]["kind"] == kind
    await manage("POST /team/update", {"team_id": "t1", "team_alias": "One", "team_member_budget": 3}, key=admin)
    await manage("GET /ui/api/spend", key=admin, team_id="t1")
    await manage("GET /ui/api/spend", key=plain, team_id="t1", status=403)
    await manage("GET /ui/api/spend", key=plain, user_id="plain")
    await manage("GET /ui/api/spend", key=plain, user_id="admin", status=403)
    await manage("GET /ui/api/spend", key=plain, organization_id="o1", status=403)
    for one in ({"tag": "x"}, {"end_user": "x"}, {"team_id": "nowhere"}):
        await manage("GET /ui/api/spend", key=plain, status=403, **one)
        await manage("GET /ui/api/spend", key=viewer, **one)
    await manage("GET /ui/api/spend", key=None, team_id="t1", status=401)
    permissions = {"team_id": "t1", "team_member_permissions": ["/team/daily/activity"]}
    await manage("POST /team/permissions_update", permissions)
    await manage("GET /ui/api/spend", key=plain, team_id="t1")
