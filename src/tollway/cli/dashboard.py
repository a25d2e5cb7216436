"""`tollway dashboard`: a link into the dashboard of a running gateway that signs in once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tollway.cli.asking import DEFAULT_URL, AsJson, ConfigPath, KeyFile, Url, ask, say, show_json

if TYPE_CHECKING:
    from tollway.cli.gateway_client import GatewayClient

LINK_PATH = "/ui/api/session/link"


def dashboard(
    *,
    opens: Annotated[bool, typer.Option("--open", help="Open it in this machine's browser, too.")] = False,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Print a link into the dashboard that signs in once; it needs the master key."""
    made = ask(url, key_file, config).post(LINK_PATH, {})
    show_json(made) if as_json else say(made["url"])
    if opens:
        import webbrowser

        webbrowser.open(made["url"])


def link_in(client: GatewayClient) -> tuple[str, int]:
    """A new link, and for how many minutes it is good. Raises Refused."""
    made = client.post(LINK_PATH, {})
    return str(made["url"]), max(1, int(made["expires_in_s"]) // 60)
