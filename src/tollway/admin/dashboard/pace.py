"""How often signing in may fail: within a minute, from one address, for one account, and in all.

One worker's own: of N workers each counts for itself. Who is signed in already notices nothing. No account, "", is the master
key's: nobody keeps its holder out by guessing.
"""

from __future__ import annotations

from collections import OrderedDict

from tollway.errors import RateLimited

FAILURES_PER_MINUTE_MAX = 5
FAILURES_OF_ACCOUNT_PER_MINUTE_MAX = 10
FAILURES_OF_ALL_PER_MINUTE_MAX = 60
#: So many addresses, and so many accounts, are remembered; the one that failed longest ago is forgotten.
NAMES_MAX = 1_000


class Pace:
    def __init__(self) -> None:
        self._addresses = _Failures(FAILURES_PER_MINUTE_MAX)
        self._accounts = _Failures(FAILURES_OF_ACCOUNT_PER_MINUTE_MAX)
        self._all = _Failures(FAILURES_OF_ALL_PER_MINUTE_MAX)

    def check(self, address: str, account: str, now: float) -> None:
        """Raises RateLimited, with the whole seconds until the next attempt is heard."""
        of_account = self._accounts.wait_s(account, now) if account else 0.0
        waits = (self._addresses.wait_s(address, now), of_account, self._all.wait_s("", now))
        wait_s = -int(-max(waits) // 1)
        if wait_s > 0:
            raise RateLimited(
                f"Too many attempts to sign in. Try again in {wait_s} seconds.",
                headers=((b"retry-after", str(wait_s).encode()),),
            )

    def failed(self, address: str, account: str, now: float) -> None:
        self._addresses.add(address, now)
        if account:
            self._accounts.add(account, now)
        self._all.add("", now)

    def forget(self, address: str, account: str) -> None:
        """Who signed in failed by mistake before."""
        self._addresses.forget(address)
        self._accounts.forget(account)


class _Failures:
    """The last moments of failing by name, at most as many as are needed to say no."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, name: str, now: float) -> float:
        own = [at for at in self._failed.get(name, ()) if at > now - 60]
        return own[-self._most] + 60 - now if len(own) >= self._most else 0.0

    def add(self, name: str, now: float) -> None:
        self._failed[name] = [*self._failed.pop(name, ()), now][-self._most :]
        while len(self._failed) > NAMES_MAX:
            self._failed.popitem(last=False)

    def forget(self, name: str) -> None:
        self._failed.pop(name, None)
