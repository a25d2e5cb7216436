"""Who may do what of the management API: the one place where that is decided.

The table of routes gives each route an `Access`; who has none of what it asks for is turned away before the body is read.
`OWN` lets in everybody who has a role: what such a caller may see and change of teams, users and keys is what the functions
below say, and nothing else.

    proxy_admin             everything, like the master key
    proxy_admin_viewer      sees everything, changes nothing
    org_admin               (a member's role in an organisation) its teams, their members and their keys
    team admin              (a member's role in a team) its members and its keys
    internal_user           makes, sees and changes keys of its own; sees its teams and what it spent
    internal_user_viewer    sees its own keys, teams and spend

A key whose user has no role sees itself.
"""

from __future__ import annotations

from enum import Enum

from tollway.admin import Principal
from tollway.errors import Forbidden, Unauthenticated
from tollway.storage import KeyRecord
from tollway.storage.people import Organization, People, Team

PROXY_ADMIN = "proxy_admin"
VIEWER = "proxy_admin_viewer"
ORG_ADMIN = "org_admin"
INTERNAL_USER = "internal_user"
INTERNAL_VIEWER = "internal_user_viewer"
#: What a user may be given.
USER_ROLES = (PROXY_ADMIN, VIEWER, ORG_ADMIN, INTERNAL_USER, INTERNAL_VIEWER)
TEAM_ROLES = ("admin", "user")
#: Who changes nothing, whatever he is in a team or an organisation.
ONLY_LOOKING = ("", INTERNAL_VIEWER, VIEWER)
#: A key with this permission may see what everybody spent: LiteLLM's word.
SPEND_PERMISSION = "get_spend_routes"
#: What a team may let its plain members do with its keys.
MEMBER_PERMISSIONS = (
    *("/key/info", "/key/list", "/key/generate", "/key/service-account/generate", "/key/update", "/key/delete"),
    *("/key/regenerate", "/key/{key_id}/regenerate", "/key/block", "/key/unblock", "/key/bulk_update", "/key/health"),
    "/team/daily/activity",
)


class Access(Enum):
    """Who may call a route."""

    PUBLIC = "everybody"
    KEY = "any valid key"
    OWN = "a key whose user has a role, for what is its own or its role covers"
    VIEWER = "whoever may see everything"
    SPEND = "as VIEWER, and a key with the permission to see what was spent"
    OWN_SPEND = "as SPEND, and as OWN for what it spent itself"
    ADMIN = "the master key and proxy admins"


def judge(access: Access, principal: Principal, path: str) -> None:
    """Raises Unauthenticated, LiteLLM's answer, for one who may not call a route at all."""
    if access is Access.PUBLIC or access is Access.KEY:
        return
    if access in (Access.OWN, Access.OWN_SPEND) and principal.role in USER_ROLES:
        return
    if access is Access.VIEWER and may_see_all(principal):
        return
    if access in (Access.SPEND, Access.OWN_SPEND) and may_see_spend(principal):
        return
    if not principal.is_admin:
        user = "None" if principal.user_id is None else "*******"
        raise Unauthenticated(
            "Authentication Error, Only proxy admin can be used to generate, delete, update info for new "
            f"keys/users/teams. Route={path}. Your role={principal.role or 'unknown'}. Your user_id={user}",
            param="None",
        )


def may_see_all(principal: Principal) -> bool:
    return principal.is_admin or principal.role == VIEWER


def may_see_spend(principal: Principal) -> bool:
    """Whether somebody may see what everybody spent. A key may be let to, whoever's it is."""
    if may_see_all(principal):
        return True
    permissions = principal.record.fields.get("permissions") if principal.record is not None else None
    return bool(permissions and permissions.get(SPEND_PERMISSION))


def may_play(principal: Principal) -> bool:
    """Whether somebody may call models from the dashboard: whoever is signed in and not there to look alone."""
    return principal.is_admin or (principal.kind == "user" and principal.role not in ONLY_LOOKING)


def may_manage_organization(principal: Principal, organization: Organization | None) -> bool:
    if principal.is_admin:
        return True
    member = organization.member(principal.user_id) if organization is not None and principal.user_id else None
    return member is not None and member.role == ORG_ADMIN and principal.role not in ONLY_LOOKING


def may_see_organization(principal: Principal, organization: Organization) -> bool:
    return may_see_all(principal) or (
        principal.user_id is not None and organization.member(principal.user_id) is not None
    )


def may_manage_team(principal: Principal, team: Team, people: People) -> bool:
    if principal.is_admin or _is_team_admin(principal, team):
        return True
    return team.organization_id is not None and may_manage_organization(
        principal, people.organizations.get(team.organization_id)
    )


def may_see_team(principal: Principal, team: Team, people: People) -> bool:
    if may_see_all(principal) or may_manage_team(principal, team, people):
        return True
    if principal.record is not None and principal.record.team_id == team.id:
        return True
    return principal.user_id is not None and team.member(principal.user_id) is not None


def may_see_user(principal: Principal, user_id: str) -> bool:
    return may_see_all(principal) or principal.user_id == user_id


def check_sees(principal: Principal, user_id: str | None) -> str | None:
    """Whose spend somebody may see who asked for that of `user_id`: all (None) or one's. Raises Forbidden."""
    if may_see_all(principal):
        return user_id
    if principal.user_id is None or user_id not in (None, principal.user_id):
        raise Forbidden("You may see your own spend alone.", param="user_id")
    return principal.user_id


def may_see_key(principal: Principal, record: KeyRecord, people: People) -> bool:
    if may_see_all(principal) or _is_itself(principal, record):
        return True
    if record.user_id is not None and record.user_id == principal.user_id and principal.role != "":
        return True
    return _may_with_team_keys(principal, record.team_id, people, "/key/info")


def may_list_team_keys(principal: Principal, team: Team, people: People) -> bool:
    return _may_with_team_keys(principal, team.id, people, "/key/list")


def may_change_key(principal: Principal, record: KeyRecord, people: People, route: str) -> bool:
    """Whether a key may be changed, blocked, replaced or deleted by somebody."""
    if principal.is_admin:
        return True
    if record.team_id is not None:
        return _may_with_team_keys(principal, record.team_id, people, route)
    return principal.role == INTERNAL_USER and record.user_id is not None and record.user_id == principal.user_id


def may_block_key(principal: Principal, record: KeyRecord, people: People, *, blocked: bool) -> bool:
    """Whether a key may be blocked or opened again by somebody. Its user may block his own; that it was blocked is for those who
    are above him to take back, or for whom its team permits that.
    """
    if record.team_id is None and not blocked and not principal.is_admin:
        return False
    return may_change_key(principal, record, people, "/key/block" if blocked else "/key/unblock")


def check_new_key(
    principal: Principal, *, user_id: str | None, team_id: str | None, people: People, route: str
) -> str | None:
    """Whose the key shall be that somebody asks for: the user id. Raises Forbidden or Unauthenticated."""
    if principal.is_admin:
        return user_id
    if principal.role not in (INTERNAL_USER, ORG_ADMIN) and not _administrates_any(principal, people):
        judge(Access.ADMIN, principal, route)
    if team_id is not None:
        if not _may_with_team_keys(principal, team_id, people, route):
            raise Forbidden(f"You may not make keys of the team {team_id!r}.", param="team_id")
        team = people.teams[team_id]
        if user_id not in (None, principal.user_id):
            if not may_manage_team(principal, team, people):
                raise Forbidden("You may make keys for yourself alone.", param="user_id")
            if team.member(user_id) is None:  # a key in somebody's name spends what is his
                raise Forbidden(f"The user {user_id!r} is not in the team {team_id!r}.", param="user_id")
        return user_id or principal.user_id
    if user_id not in (None, principal.user_id):
        raise Forbidden("You may make keys for yourself alone.", param="user_id")
    return principal.user_id


def _may_with_team_keys(principal: Principal, team_id: str | None, people: People, route: str) -> bool:
    team = people.teams.get(team_id) if team_id is not None else None
    if team is None:
        return False
    if may_manage_team(principal, team, people):
        return True
    member = team.member(principal.user_id) if principal.user_id is not None else None
    return member is not None and principal.role == INTERNAL_USER and route in team.member_permissions


def _is_team_admin(principal: Principal, team: Team) -> bool:
    member = team.member(principal.user_id) if principal.user_id is not None else None
    return member is not None and member.role == "admin" and principal.role not in ONLY_LOOKING


def _administrates_any(principal: Principal, people: People) -> bool:
    return any(may_manage_team(principal, team, people) for team in people.teams.values())


def _is_itself(principal: Principal, record: KeyRecord) -> bool:
    return principal.record is not None and principal.record.token == record.token
