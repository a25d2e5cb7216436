"""Where the dashboard's paths part from the management API's."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from tollway.admin import Office
from tollway.admin.dashboard.sessions import Sessions

ROOT = "/ui"
#: Single sign-on leads to it, and back.
SSO = "/sso/"


class Door:
    """Sends what is the dashboard's to it and everything else on. The dashboard is made when somebody first asks for it."""

    def __init__(self, app: ASGIApp, *, office: Office, sessions: Sessions) -> None:
        self.app = app
        self._office = office
        self._sessions = sessions
        self._dashboard: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or (path != ROOT and not path.startswith((ROOT + "/", SSO))):
            await self.app(scope, receive, send)
            return
        if self._dashboard is None:
            from tollway.admin.dashboard.application import build_dashboard

            self._dashboard = build_dashboard(self._office, self._sessions)
        await self._dashboard(scope, receive, send)
