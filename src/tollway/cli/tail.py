"""`tollway tail`: calls in the terminal as they end, from the same source as the dashboard's live log.

The gateway ends its stream of events every few seconds, and the next one may be another worker's: so each time it begins anew
the log is asked for what ended in between, and a call that was shown is not shown again.
"""

from __future__ import annotations

import json
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct

from tollway.cli.asking import DEFAULT_URL, AsJson, ConfigPath, KeyFile, Url, ask
from tollway.cli.refusal import MISUSED, Refused
from tollway.cli.tables import cells_of, coloured, dollars, width_of_terminal

if TYPE_CHECKING:
    from tollway.cli.gateway_client import GatewayClient

LINES = 20
LIVE_PATH = "/ui/api/live"
LOG_PATH = "/ui/api/logs"
#: Longer than the gateway lets a stream live.
SILENCE_S_MAX = 60.0
#: Between two attempts to reach a gateway that is away.
AWAY_S_MIN, AWAY_S_MAX = 0.5, 5.0
SEEN_MAX = 20_000
PAGE_ROWS = 200
PAGES_MAX = 25
#: A call that ended just now may have begun so long ago.
LONGEST_CALL = timedelta(hours=2)
#: Clocks are told to the second.
OVERLAP_MS = 2_000
MASTER = "master"
#: Cells of a line into a pipe.
WIDTH_OTHERWISE = 120
NAME_CELLS_MIN = 10

Lines = Annotated[int, typer.Option("--lines", "-n", min=0, max=1_000, help="How many of the newest calls.")]
OfKey = Annotated[str | None, typer.Option("--key", help="Of this key: itself, its SHA-256, its alias, or master.")]
OfModel = Annotated[str | None, typer.Option("--model", "-m", help="Of this model; 'gpt-*' for all of a kind.")]
OfStatus = Annotated[str | None, typer.Option("--status", help="ok, failed, a status such as 429, or 5xx.")]


def tail(
    *,
    lines: Lines = 0,
    key: OfKey = None,
    model: OfModel = None,
    status: OfStatus = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show calls as they end, until Ctrl-C; with --json one object a line."""
    client = ask(url, key_file, config)
    try:
        wanted = wanted_of(client, key=key, model=model, status=status)
        show = Shown(wanted, as_json=as_json)
        show.head()
        follow(client, show, lines)
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            sys.stderr.write("\n")


def show_latest(
    client: GatewayClient, lines: int, *, key: str | None, model: str | None, status: str | None, as_json: bool
) -> None:
    """The newest calls, the newest last."""
    show = Shown(wanted_of(client, key=key, model=model, status=status), as_json=as_json)
    show.head()
    show.calls(latest(client, show.wanted, lines))


class Wanted(Struct, frozen=True, kw_only=True):
    """Which calls: of `token` (SHA-256, MASTER), of models that fit, with a status that fits."""

    token: str | None = None
    model: str | None = None
    status: str | None = None

    def fits(self, call: dict[str, Any]) -> bool:
        if self.token is not None and (call["key"] or MASTER) != self.token:
            return False
        if self.model is not None and not any(fnmatchcase(call[name], self.model) for name in ("model_group", "model")):
            return False
        return self.status is None or _has(call, self.status)

    @property
    def query(self) -> dict[str, str | None]:
        """What the gateway can look for by itself; never more than is wanted."""
        return {
            "key": "litellm_proxy_master_key" if self.token == MASTER else self.token,
            "status": self.status if self.status is not None and not self.status.endswith("xx") else None,
        }


def _has(call: dict[str, Any], status: str) -> bool:
    code = call["status"]
    if status in ("ok", "failed"):
        return (200 <= code < 400) is (status == "ok")
    return f"{code}" == status or (status.endswith("xx") and f"{code}"[0] == status[0])


def wanted_of(client: GatewayClient, *, key: str | None, model: str | None, status: str | None) -> Wanted:
    """Raises Refused for a key that nobody knows, and for what is no status."""
    if status is not None:
        status = status.lower()
        digits = status[1:] == "xx" or status[1:].isdecimal()
        if status not in ("ok", "failed") and not (len(status) == 3 and status[0] in "12345" and digits):
            raise Refused(f"--status {status!r} should be ok, failed, a status such as 429, or 5xx", exit_code=MISUSED)
    token = key
    if key is not None and key != MASTER:
        from tollway.cli.keys import named_key

        found = named_key(client, key)
        if found is None:
            raise Refused(f"no key is or has the alias {key!r}; `tollway keys list` shows them")
        token = str(found["token"])
    return Wanted(token=token, model=model, status=status)


# --- where they come from


def follow(client: GatewayClient, show: Shown, lines: int, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Shows the newest `lines` calls and every one that ends from now on. Returns never; raises Refused when the gateway says no,
    or was not there to begin with.
    """
    from tollway.cli.gateway_client import BrokenOff

    until_ms: float | None = None  # up to here nothing was missed, by the gateway's clock
    away_s = 0.0
    while True:
        try:
            with client.stream(LIVE_PATH, timeout_s=SILENCE_S_MAX) as (date, events):
                opened = time.monotonic()
                if away_s:
                    sys.stderr.write("tollway: the gateway is there again\n")
                away_s = 0.0
                for event in _decoded(events):
                    if event is None:  # the stream stands: what comes from here on is told
                        show.calls(_before(client, show.wanted, until_ms, lines))
                    else:
                        show.calls(event["calls"])
                        show.missed(event["missed"])
                    until_ms = date * 1000 + (time.monotonic() - opened) * 1000 - OVERLAP_MS
        except BrokenOff as error:
            if until_ms is None:
                raise Refused(
                    f"no gateway answers at {client.url} ({error}): start one, or name it with --url"
                ) from error
            if not away_s:
                sys.stderr.write(f"tollway: {client.url} does not answer ({error}); waiting for it, Ctrl-C ends\n")
            away_s = min(AWAY_S_MAX, 2 * away_s or AWAY_S_MIN)
            sleep(away_s)


def _before(client: GatewayClient, wanted: Wanted, until_ms: float | None, lines: int) -> list[dict[str, Any]]:
    """What came before the stream: the newest calls at first, later those that ended since the last stream."""
    try:
        if until_ms is None:
            return latest(client, wanted, lines)
        since = datetime.fromtimestamp(until_ms / 1000, UTC) - LONGEST_CALL
        found = client.get(LOG_PATH, {**wanted.query, "start": since.isoformat(), "limit": PAGE_ROWS})["calls"]
    except Refused:
        if until_ms is None:
            raise
        return []  # gone again: the next stream asks for it
    return [call for call in reversed(found) if call["at_ms"] + call["duration_ms"] > until_ms]


def latest(client: GatewayClient, wanted: Wanted, lines: int) -> list[dict[str, Any]]:
    """The newest calls that fit, the newest last; at most PAGE_ROWS * PAGES_MAX are looked at."""
    found: list[dict[str, Any]] = []
    before: str | None = None
    for _ in range(PAGES_MAX if lines else 0):
        answer = client.get(LOG_PATH, {**wanted.query, "limit": min(PAGE_ROWS, max(lines, 50)), "before": before})
        found += [call for call in answer["calls"] if wanted.fits(call)]
        before = answer["next"]
        if before is None or len(found) >= lines:
            break
    return found[:lines][::-1]


def _decoded(events: Iterator[bytes]) -> Iterator[dict[str, Any] | None]:
    """Events of the stream: None for its beginning."""
    kind = ""
    for line in events:
        name, _, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield json.loads(value) if kind == "calls" else None


# --- how they are shown


class Shown:
    """Writes calls that are wanted to stdout, each once."""

    def __init__(self, wanted: Wanted, *, as_json: bool) -> None:
        self.wanted = wanted
        self._as_json = as_json
        self._seen: OrderedDict[str, None] = OrderedDict()

    def head(self) -> None:
        if not self._as_json:
            line = _line(("TIME", "KEY", "MODEL", "STATUS", "IN", "OUT", "COST", "MS"), "")
            sys.stdout.write(line.rstrip() + "\n")
            sys.stdout.flush()

    def calls(self, calls: list[dict[str, Any]]) -> None:
        for call in calls:
            if call["id"] in self._seen:
                continue
            self._seen[call["id"]] = None
            if self.wanted.fits(call):
                sys.stdout.write((json.dumps(call, ensure_ascii=False) if self._as_json else line_of(call)) + "\n")
        while len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        sys.stdout.flush()

    def missed(self, count: int) -> None:
        if count:
            sys.stderr.write(f"tollway: {count:,} calls came too fast to be shown; `tollway spend tail` has them\n")


def line_of(call: dict[str, Any]) -> str:
    """A call in one line; times are this machine's."""
    failed = call["status"] >= 400
    cost = dollars(call["cost"]) if call["cost"] is not None else "" if failed else "unpriced"
    error = " ".join(f"{call['error_type']} {call['error']}".split()) if failed else ""
    cells = (
        f"{datetime.fromtimestamp(call['at_ms'] / 1000):%H:%M:%S}",  # noqa: DTZ006  the person's own clock
        call["key_alias"] or (call["key"] or "(master key)")[:12],
        call["model_group"] or call["model"],
        str(call["status"]),
        f"{call['input_tokens']:,}",
        f"{call['output_tokens']:,}",
        cost,
        f"{call['duration_ms']:,.0f}",
    )
    return _line(cells, error, colour="red" if call["status"] >= 500 else "yellow" if failed else None)


def _line(cells: tuple[str, ...], error: str, *, colour: str | None = None) -> str:
    at, key, model, status, taken, given, cost, duration = cells
    width = width_of_terminal()
    left = (width or WIDTH_OTHERWISE) - 8 - 6 - 8 - 7 - 11 - 8 - 7 * 2
    key_cells = max(NAME_CELLS_MIN, left * 2 // 5)
    model_cells = max(NAME_CELLS_MIN, left - key_cells)
    status = f"{status:<6}"
    line = (
        f"{at:<8}  {_cut(key, key_cells)}  {_cut(model, model_cells)}  {coloured(status, colour) if colour else status}"
        f"  {taken:>8}  {given:>7}  {cost:>11}  {duration:>8}"
    )
    if not error:
        return line
    room = None if width is None else width - 10
    return f"{line}\n{' ' * 8}  {coloured(error if room is None else _cut(error, room).rstrip(), 'grey')}"


def _cut(text: str, cells: int) -> str:
    """Exactly so wide."""
    if cells_of(text) > cells:
        while text and cells_of(text) >= cells:
            text = text[:-1]
        text += "…"
    return text + " " * (cells - cells_of(text))
