"""Who somebody is who shows a name and a password: the holder of the master key, or a user.

Unknown users, users without a password and wrong passwords take the same time and get the same answer. At most `CHECKS_MAX`
passwords are compared at once, each takes 19 MB; `WAITING_MAX` more wait.
"""

from __future__ import annotations

import asyncio
import hmac
from hashlib import sha256

from tollway.admin import Office
from tollway.admin.border import MASTER_USER, us_of
from tollway.admin.dashboard.pace import Pace
from tollway.admin.passwords import checked_password, hash_of, is_right
from tollway.admin.roles import PROXY_ADMIN, VIEWER
from tollway.config.settings import SignInSettings
from tollway.errors import BadRequest, Forbidden, RateLimited, Unauthenticated
from tollway.storage.people import User

DEFAULT_USER = "admin"
#: Whose session it is that the master key opened.
MASTER = ""
CHECKS_MAX = 2
WAITING_MAX = 30


class Accounts:
    """Owns the pace of failures."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._pace = Pace()
        self._free = asyncio.Semaphore(CHECKS_MAX)
        self._waiting = 0

    async def who(self, name: str | None, password: str, *, address: str) -> str:
        """The user's id, or MASTER. Raises Unauthenticated, RateLimited, or Forbidden for a user who is blocked."""
        now, account = self._now(), _account(name)
        self._pace.check(address, account, now)
        if self._opens(name, password):
            self._pace.forget(address, account)
            return MASTER
        user = await self.find(name) if name else None
        try:
            right = await self._is_right(user.id if user is not None else None, password) and user is not None
        except RateLimited:
            self._pace.failed(address, account, now)  # it was a guess at the gateway's own password all the same
            raise
        if not right or user is None:
            self._pace.failed(address, account, now)
            raise Unauthenticated("That is neither the master key nor the user name and password.")
        self._pace.forget(address, account)
        check_open(user)
        if not may_enter(user, self._office.config.sign_in):
            raise Forbidden("This dashboard is for administrators.", code="admins_only")
        return user.id

    async def change_password(self, user_id: str, old: str, new: str, *, address: str) -> None:
        """Ends every session of the user's. Raises Forbidden for a wrong old one, BadRequest, RateLimited."""
        now, account = self._now(), _account(user_id)
        checked_password(new, "new_password")
        self._pace.check(address, account, now)
        if await self._office.storage.sign_ins.password_of(user_id) is None:
            raise BadRequest("You have no password here. An administrator can invite you to choose one.")
        if not await self._is_right(user_id, old):
            self._pace.failed(address, account, now)
            raise Forbidden("The old password is wrong.", code="wrong_password", param="old_password")
        self._pace.forget(address, account)
        await self.set_password(user_id, new)

    async def set_password(self, user_id: str, password: str) -> None:
        hashed = await asyncio.to_thread(hash_of, password)
        await self._office.storage.sign_ins.set_password(user_id, hashed, now_us=us_of(self._office.now()))

    async def find(self, name: str) -> User | None:
        """By id, else by e-mail address, whatever its case; an address that two users have is nobody's."""
        users = self._office.storage.people.users
        if "@" not in name:
            user = await users.get(name)
        else:
            everybody = list((await self._office.storage.people.load()).users.values())
            address = name.casefold()
            found = [one for one in everybody if one.id == name]
            found = found or [one for one in everybody if one.email is not None and one.email.casefold() == address]
            user = found[0] if len(found) == 1 else None
        return user if user is not None and user.id != MASTER_USER else None

    async def _is_right(self, user_id: str | None, password: str) -> bool:
        hashed = await self._office.storage.sign_ins.password_of(user_id or "")
        if self._waiting >= WAITING_MAX:
            raise RateLimited("Too many people sign in at once. Try again.", headers=((b"retry-after", b"1"),))
        self._waiting += 1
        try:
            async with self._free:
                return await asyncio.to_thread(is_right, hashed, password)
        finally:
            self._waiting -= 1

    def _opens(self, user: str | None, password: str) -> bool:
        access = self._office.config.access
        master = self._office.is_master(sha256(password.encode("utf-8", "surrogatepass")).digest())
        if access.ui_password is None:
            return master and (not user or access.ui_username is None or equal(user, access.ui_username))
        right_user = equal(user or DEFAULT_USER, access.ui_username or DEFAULT_USER)
        right_password = equal(password, access.ui_password.reveal())
        return master or (right_user and right_password)

    def _now(self) -> float:
        return self._office.now().timestamp()


def may_enter(user: User, settings: SignInSettings) -> bool:
    """Whether the configuration lets a user in to the dashboard."""
    return not settings.admins_only or user.role in (PROXY_ADMIN, VIEWER)


def check_open(user: User) -> None:
    """Raises Forbidden for a user who is blocked."""
    if user.blocked:
        raise Forbidden("This account is blocked. Ask an administrator.", code="blocked")


def equal(one: str, other: str) -> bool:
    """Compared by digest: how long it takes tells nothing."""
    first, second = (sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (one, other))
    return hmac.compare_digest(first, second)


def _account(name: str | None) -> str:
    """What is remembered of a name: as long for every name."""
    return sha256(name.casefold().encode("utf-8", "surrogatepass")).hexdigest() if name else ""
