"""`tollway doctor`: what a start would meet on this machine, with what to do about it. Nothing is changed, no call is paid.

Each check is a function that yields findings; they stand in the order in which a start meets them.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct

from tollway import __version__
from tollway.cli.asking import show_json
from tollway.cli.binding import EVERYWHERE, LOOPBACK, choose_host, url_of
from tollway.cli.flags import CONFIG_HERE, Flags, config_here, read_config
from tollway.cli.refusal import Refused
from tollway.cli.tables import coloured
from tollway.errors import ConfigError

if TYPE_CHECKING:
    from tollway.config.settings import Config
    from tollway.snapshot import Deployment
    from tollway.upstream.wire import Origin

OK, WARN, FAIL = "ok", "warn", "fail"
_COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}
DISK_BYTES_WARN, DISK_BYTES_FAIL = 1 << 30, 100 << 20
FILES_OPEN_MIN = 4_096
#: From here on signed requests are refused by some providers (AWS: five minutes).
SKEW_S_WARN, SKEW_S_FAIL = 30, 240
REACHED_AT_ONCE = 16
ANSWER_S_MAX = 2.0
#: What an extra brings, and what it is for.
EXTRAS = {
    "local": ("xllamacpp", "models on this machine"),
    "postgres": ("psycopg", "PostgreSQL"),
    "bedrock": ("botocore", "AWS credentials"),
    "vertex": ("google.auth", "Google Cloud's credentials"),
    "secrets": ("cryptography", "models and credentials added through the API"),
}


class Finding(Struct, frozen=True):
    """One line: how it stands with something, and `do` says what to do where it does not stand well."""

    status: str
    about: str
    found: str
    do: str = ""


def doctor(
    config: Annotated[
        str | None,
        typer.Argument(
            metavar="CONFIG", envvar="CONFIG_FILE_PATH", help="A config.yaml; the one in this folder if there is one."
        ),
    ] = None,
    *,
    host: Annotated[str | None, typer.Option("--host", envvar="HOST", help="As it is to be served.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", envvar="PORT", min=0, max=65535, help="As it is to be served.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not connect to providers.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Show JSON.")] = False,
) -> None:
    """Check this machine and a configuration: ports, keys, providers, storage, clock. Exit code 1 when something fails."""
    findings: list[Finding] = []
    for finding in examine(Flags(config=config or config_here(), host=host, port=port), offline=offline):
        findings.append(finding)
        if not as_json:
            _show(finding)
    failed = sum(finding.status == FAIL for finding in findings)
    if as_json:
        told = ("status", "about", "found", "do")
        show_json([{name: getattr(finding, name) for name in told} for finding in findings])
    else:
        warned = sum(finding.status == WARN for finding in findings)
        sys.stdout.write(f"\n{failed} failed, {warned} to look at, {len(findings) - failed - warned} good\n")
    raise typer.Exit(1 if failed else 0)


def examine(flags: Flags, *, offline: bool) -> Iterator[Finding]:
    """Every finding, as it is made."""
    yield from versions()
    try:
        config = read_config(flags)
    except ConfigError as error:
        for problem in error.problems:
            yield Finding(FAIL, "config", problem, "correct it; docs/configuration.md lists every setting")
        return
    except Refused as refused:
        yield Finding(FAIL, "config", str(refused))
        return
    yield from configuration(config)
    yield from listening(config)
    yield from master_key(config)
    deployments = yield from models(config)
    yield from storage(config)
    yield from files(config)
    yield from network(config)
    if not offline:
        yield from providers(config, deployments)


def _show(finding: Finding) -> None:
    status = coloured(f"{finding.status:<4}", _COLOURS[finding.status])
    sys.stdout.write(f"{status}  {finding.about:<10}  {finding.found}\n")
    if finding.do:
        sys.stdout.write(f"{'':<16}  -> {finding.do}\n")
    sys.stdout.flush()


# --- this program


def versions() -> Iterator[Finding]:
    from importlib.util import find_spec

    def there(module: str) -> bool:
        try:
            return find_spec(module) is not None
        except ModuleNotFoundError:  # its package is not there
            return False

    there_are = [name for name, (module, _) in EXTRAS.items() if there(module)]
    missing = [f"{name} ({what})" for name, (_, what) in EXTRAS.items() if name not in there_are]
    yield Finding(
        OK,
        "version",
        f"Tollway {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
    )
    extras = f"installed: {', '.join(there_are) or 'none'}"
    yield Finding(OK, "extras", extras + (f"; not installed: {', '.join(missing)}" if missing else ""))


def configuration(config: Config) -> Iterator[Finding]:
    if config.config_path is None:
        yield Finding(
            WARN, "config", "no configuration: only the environment counts", f"name one, or write {CONFIG_HERE} here"
        )
        return
    names = len({entry.model_name for entry in config.models})
    yield Finding(OK, "config", f"{config.config_path} is good: {names} models, {len(config.models)} deployments")
    for warning in config.warnings:
        yield Finding(WARN, "config", warning)


# --- this machine


def listening(config: Config) -> Iterator[Finding]:
    listen = config.listen
    try:
        host = choose_host(listen.host, config.access)
    except Refused as refused:
        yield Finding(FAIL, "port", str(refused))
        return
    place = f"port {listen.port} on {'every address' if host in {EVERYWHERE, '::'} else host}"
    problem = _bind_problem(host, listen.port)
    if problem is None:
        yield Finding(OK, "port", f"{place} is free")
    elif problem == "taken":
        url = url_of(host, listen.port, tls=False)
        if _is_gateway(url):
            yield Finding(OK, "port", f"a gateway is running at {url}")
        else:
            who = _listener(listen.port)
            yield Finding(
                FAIL,
                "port",
                f"{place} is taken{f' by {who}' if who else ''}",
                "stop that one, or choose another with --port",
            )
    else:
        yield Finding(FAIL, "port", f"{place} cannot be used: {problem}", "choose another with --host and --port")


def _bind_problem(host: str, port: int) -> str | None:
    import errno

    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen(1)
    except OSError as error:
        return "taken" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
    return None


def _is_gateway(url: str) -> bool:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"{url}/health/liveliness", timeout=ANSWER_S_MAX) as answer:  # noqa: S310  our own address
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def _listener(port: int) -> str:
    """ "PID 12 (name)" of who listens on the port, as far as Linux lets us see it."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:  # 0A: it listens
                sockets.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        try:
            if any(os.readlink(file) in sockets for file in (process / "fd").iterdir()):
                return f"PID {process.name} ({(process / 'comm').read_text().strip()})"
        except OSError:
            continue
    return ""


def master_key(config: Config) -> Iterator[Finding]:
    from tollway.config import is_weak_master_key
    from tollway.config.places import master_key_path

    access = config.access
    if access.master_key is None:
        path = master_key_path(config)
        kept = (
            f"the one kept in {path}"
            if path.is_file()
            else f"none yet: the first start makes one and keeps it in {path}"
        )
        yield Finding(OK, "master key", f"{kept}; serves this machine alone ({LOOPBACK})")
        return
    source = config.sources.get("access.master_key", "the configuration")
    if is_weak_master_key(access.master_key.reveal()):
        yield Finding(
            FAIL if access.weak_master_key_permitted else WARN,
            "master key",
            f"the one from {source} is too easy to guess"
            + ("" if access.weak_master_key_permitted else f"; so only this machine is served ({LOOPBACK})"),
            "make one with: echo sk-$(openssl rand -hex 24)",
        )
    else:
        yield Finding(OK, "master key", f"strong, from {source}; serves every address unless --host says otherwise")


def models(config: Config) -> Generator[Finding, None, list[Deployment]]:
    """One line for each that lacks something; returns those that have what they need."""
    from tollway.app import bare_binder, catalog_in_force
    from tollway.cli.model_files import PREFIX, ModelFileMissing, model_file
    from tollway.config.places import data_folder
    from tollway.providers.registry import UnknownProvider

    catalog, warnings = catalog_in_force(data_folder(config))
    for warning in warnings:
        yield Finding(WARN, "prices", warning, "tollway prices update")
    binder = bare_binder(config, catalog)
    ready: list[Deployment] = []
    lacking = 0
    for entry in config.models:
        # A wildcard's key and address are those of any of its models.
        written = entry.provider_model.replace("*", "any")
        try:
            deployment = binder.bind(entry, entry.model_name, written)
        except (ConfigError, UnknownProvider) as error:
            problems = error.problems if isinstance(error, ConfigError) else [str(error)]
            yield Finding(FAIL, "model", f"{entry.model_name}: {' '.join(problems)}")
            lacking += 1
            continue
        problem = do = ""
        if written.startswith(PREFIX) and entry.api_base is None:
            name = written.removeprefix(PREFIX)
            try:
                model_file(name)
            except ModelFileMissing as missing:
                problem = str(missing)
            from importlib.util import find_spec

            if find_spec("xllamacpp") is None:
                problem, do = f"{written} needs llama.cpp", "pip install 'tollway[local]'"
        elif deployment.missing is not None:
            problem, names = str(deployment.missing), deployment.missing.names
            do = f"export {names[0]}=..., or write it in the configuration" if names else ""
        else:
            ready.append(deployment)
        if problem:
            lacking += 1
            yield Finding(FAIL, "model", f"{entry.model_name}: {problem}", do)
    good = len(config.models) - lacking
    if good:
        yield Finding(OK, "models", f"{good} of {len(config.models)} deployments have what their provider needs")
    return ready


# --- the data folder


def storage(config: Config) -> Iterator[Finding]:
    from tollway.config.places import DATA_FILE, data_folder
    from tollway.errors import StorageError
    from tollway.storage import is_postgres, shown_url, sqlite_path

    folder = data_folder(config)
    url = config.storage.database_url
    where = folder / DATA_FILE if url is None else url.reveal()
    try:
        if is_postgres(where):
            yield _schema_finding(_postgres_schema(str(where)), shown_url(str(where)))
        else:
            path = sqlite_path(where)
            yield _schema_finding(_sqlite_schema(path), str(path))
    except StorageError as error:
        yield Finding(FAIL, "storage", str(error))
    yield from _folder(folder)


def _schema_finding(found: int | None, where: str) -> Finding:
    from tollway.storage.schemas import HEAD

    if found is None:
        return Finding(OK, "storage", f"{where} is new: the first start makes it")
    if found > int(HEAD):
        return Finding(
            FAIL,
            "storage",
            f"{where} has schema {found}, this program knows up to {int(HEAD)}",
            "start the newer Tollway",
        )
    step = "" if found == int(HEAD) else f", the next start brings it to {int(HEAD)}"
    return Finding(OK, "storage", f"{where} opens, schema {found}{step}")


def _sqlite_schema(path: Path) -> int | None:
    """Read without changing anything. Raises StorageError."""
    import sqlite3

    from tollway.errors import StorageError

    if not path.exists():
        return None
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=ANSWER_S_MAX)
        try:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        finally:
            connection.close()
        return int(rows[0][0]) if rows else None
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise StorageError(f"{path} cannot be opened: {error}") from error
    except (sqlite3.Error, ValueError) as error:
        raise StorageError(f"{path} cannot be read: {error}") from error


def _postgres_schema(url: str) -> int | None:
    from tollway.errors import StorageError
    from tollway.storage import shown_url

    try:
        import psycopg

        from tollway.storage.postgres import SCHEMA, without_foreign_words
    except ImportError as error:
        raise StorageError("PostgreSQL needs a driver: pip install 'tollway[postgres]'") from error
    try:
        with psycopg.connect(without_foreign_words(url), connect_timeout=5) as connection:
            known = connection.execute(f"SELECT to_regclass('{SCHEMA}.schema_version') IS NOT NULL").fetchone()
            if known != (True,):
                return None
            row: Any = connection.execute(f"SELECT max(number) FROM {SCHEMA}.schema_version").fetchone()  # noqa: S608  ours
            return int(row[0])
    except psycopg.Error as error:
        said = " ".join(str(error).split())[:200]
        raise StorageError(f"{shown_url(url)} does not answer: {said or type(error).__name__}") from error


def _folder(folder: Path) -> Iterator[Finding]:
    nearest = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    if not os.access(nearest, os.W_OK | os.X_OK):
        yield Finding(FAIL, "disk", f"{nearest} cannot be written to", "change its owner, or set tollway.data_dir")
    free = shutil.disk_usage(nearest).free
    status = FAIL if free < DISK_BYTES_FAIL else WARN if free < DISK_BYTES_WARN else OK
    yield Finding(
        status,
        "disk",
        f"{free / (1 << 30):,.1f} GiB free at {nearest}",
        "" if status == OK else "make room: without it calls are refused, since none is left unwritten",
    )


def files(config: Config) -> Iterator[Finding]:
    """Who may read what is kept."""
    from tollway.config.places import DATA_FILE, data_folder, master_key_path

    folder = data_folder(config)
    looked: list[tuple[Path, str]] = [(master_key_path(config), FAIL), (folder / DATA_FILE, WARN)]
    if config.config_path is not None and _holds_secrets(config):
        looked.append((Path(config.config_path), WARN))
    open_ones = [(path, status) for path, status in looked if path.is_file() and path.stat().st_mode & 0o077]
    for path, status in open_ones:
        yield Finding(status, "files", f"{path} can be read by others on this machine", f"chmod 600 {path}")
    if not open_ones:
        yield Finding(OK, "files", f"what is secret in {folder} is its owner's alone")


def _holds_secrets(config: Config) -> bool:
    """Whether a secret stands in the file itself, not in the environment."""
    held = {
        name: source
        for name, source in config.sources.items()
        if name == "access.master_key" or name.endswith((".api_key", "database_url", ".ui_password"))
    }
    return any("environment" not in source for source in held.values())


# --- the way out


def network(config: Config) -> Iterator[Finding]:
    from tollway.calls import Secret
    from tollway.upstream.proxying import read_proxy

    def shown(url: Secret) -> str:
        proxy = read_proxy(url)
        return f"{proxy.host}:{proxy.port}"

    ways = {"https": config.network.https_proxy, "http": config.network.http_proxy}
    try:
        used = [f"{scheme} through {shown(url)}" for scheme, url in ways.items() if url]
    except ConfigError as error:
        yield Finding(FAIL, "proxy", " ".join(error.problems), "correct HTTPS_PROXY and HTTP_PROXY")
        return
    spared = ", ".join(config.network.no_proxy)
    told = f"providers are called directly for: {spared}" if spared else "no provider is spared (NO_PROXY)"
    yield Finding(OK, "proxy", f"{', '.join(used)}; {told}" if used else "none: providers are called directly")
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES_OPEN_MIN:
        yield Finding(
            WARN, "limits", f"{soft} files may be open, and each call takes two", f"ulimit -n {FILES_OPEN_MIN * 4}"
        )


def providers(config: Config, deployments: list[Deployment]) -> Iterator[Finding]:
    """Connects to every host once, several at the same time."""
    from concurrent.futures import ThreadPoolExecutor

    from tollway.cli.reaching import Reached, reach
    from tollway.upstream.proxying import ProxySettings

    proxies = ProxySettings(config.network.https_proxy, config.network.http_proxy, config.network.no_proxy)
    named: dict[Origin, list[str]] = {}
    for deployment in deployments:
        named.setdefault(deployment.origin, []).append(deployment.model_name)
    if not named:
        return

    def attempt(origin: Origin) -> Reached:
        return reach(origin, proxies)

    with ThreadPoolExecutor(REACHED_AT_ONCE) as pool:
        found = list(pool.map(attempt, named))
    for one in found:
        where = f"{one.origin.scheme}://{one.origin.host}:{one.origin.port}"
        asked = ", ".join(dict.fromkeys(named[one.origin]))
        if one.problem:
            yield Finding(
                FAIL, "provider", f"{where} ({asked}): {one.problem}", "look at the address, firewall and proxy"
            )
        else:
            yield Finding(OK, "provider", f"{where} ({asked}) answers in {one.ms:.0f} ms")
    yield from _clock([one.skew_s for one in found if one.skew_s is not None])


def _clock(skews: list[float]) -> Iterator[Finding]:
    if not skews:
        return
    skew = sorted(skews)[len(skews) // 2]
    late = abs(skew)
    status = FAIL if late > SKEW_S_FAIL else WARN if late > SKEW_S_WARN else OK
    told = "agrees with the providers'" if status == OK else f"is {late:.0f} s {'behind' if skew > 0 else 'ahead'}"
    yield Finding(status, "clock", f"this machine's clock {told}", "" if status == OK else "let it be set by NTP")
