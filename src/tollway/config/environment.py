"""The environment, read once: which variables mean which setting, and which are kept for providers.

`environment_variables` of a file are laid over the process's own, as LiteLLM does it, but `os.environ` is never
written: libraries that read it by themselves do not see them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tollway.calls import Secret
from tollway.config import jwt, redis
from tollway.config.findings import ENVIRONMENT, Findings, Place
from tollway.config.nodes import fill_in_variables, from_variable
from tollway.config.sections import (
    database_url,
    directory,
    log_level,
    read_variable,
    ssl_verify_unless_true,
)
from tollway.config.sign_in import SIGN_IN_VARIABLES
from tollway.config.values import (
    NOT_GIVEN,
    Given,
    Kind,
    NotGiven,
    boolean,
    filled_secret,
    filled_text,
    number,
    secret,
    text,
)

#: A process that lets a file change these runs other code than its owner started.
DENIED = frozenset(
    {"PATH", "HOME", "SHELL", "USER", "IFS", "ENV", "BASH_ENV", "TMPDIR", "VIRTUAL_ENV", "NO_PROXY", "no_proxy"}
    | {"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "DYLD_LIBRARY_PATH"}
    | {"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONUSERBASE"}
)

#: Beside the variables that the caller names: what every OpenAI-compatible provider reads by default.
PROVIDER_SUFFIXES = ("_API_KEY", "_API_BASE", "_BASE_URL")


def certificate_bundle(given: Given) -> str | NotGiven:
    """SSL_CERT_FILE is set for all programs of a machine: one that names no file is not ours to refuse."""
    path = filled_text(given)
    if os.path.exists(path):
        return path
    given.warn("names a file that does not exist; it is not used")
    return NOT_GIVEN


def hosts(given: Given) -> tuple[str, ...]:
    return tuple(host.strip().lower() for host in text(given).split(",") if host.strip())


def parts(given: Given) -> tuple[str, ...]:
    return tuple(part.strip() for part in filled_text(given).split(",") if part.strip())


#: Later rows win over earlier ones for the same field; files win over all. Of proxies the lower case wins, as usual.
VARIABLES: tuple[tuple[str, str, Kind], ...] = (
    ("LITELLM_MASTER_KEY", "access.master_key", filled_secret),
    ("TOLLWAY_MASTER_KEY", "access.master_key", filled_secret),
    ("LITELLM_SALT_KEY", "access.salt_key", filled_secret),
    ("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "access.weak_master_key_permitted", boolean),
    ("UI_USERNAME", "access.ui_username", filled_text),
    ("UI_PASSWORD", "access.ui_password", filled_secret),
    *SIGN_IN_VARIABLES,
    ("JWT_PUBLIC_KEY_URL", "access.jwt_key_urls", jwt.addresses),
    ("JWT_AUDIENCE", "access.jwt_audiences", parts),
    ("JWT_ISSUER", "access.jwt_issuer", filled_text),
    ("JWT_LEEWAY", "access.jwt_leeway_s", number(0, maximum=600)),
    ("DATABASE_URL", "storage.database_url", database_url),
    ("TOLLWAY_DATA_DIR", "storage.data_dir", directory),
    ("REDIS_URL", "redis.url", redis.url),
    ("REDIS_HOST", "redis.host", filled_text),
    ("REDIS_PORT", "redis.port", redis.port),
    ("REDIS_DB", "redis.db", redis.database),
    ("REDIS_USERNAME", "redis.username", filled_text),
    ("REDIS_PASSWORD", "redis.password", filled_secret),
    ("REDIS_SSL", "redis.ssl", boolean),
    ("JSON_LOGS", "logs.json", boolean),
    ("LITELLM_LOG", "logs.level", log_level),
    ("SSL_CERT_FILE", "network.ssl_verify", certificate_bundle),
    ("SSL_VERIFY", "network.ssl_verify", ssl_verify_unless_true),
    ("HTTP_PROXY", "network.http_proxy", secret),
    ("http_proxy", "network.http_proxy", secret),
    ("HTTPS_PROXY", "network.https_proxy", secret),
    ("https_proxy", "network.https_proxy", secret),
    ("NO_PROXY", "network.no_proxy", hosts),
    ("no_proxy", "network.no_proxy", hosts),
)


class Environment:
    """Variables by name; an empty one is as if it were not set. Knows which were asked for."""

    def __init__(self, process: Mapping[str, str], findings: Findings) -> None:
        self._findings = findings
        self._values = {name: value for name, value in process.items() if value != ""}
        self._places: dict[str, Place] = {}
        self._asked: set[str] = set()

    def get(self, name: str) -> str | None:
        self._asked.add(name)
        return self._values.get(name)

    def lay_over(self, given: Given) -> None:
        """Takes the variables of a file's `environment_variables` section, but none that could change the process."""
        filled = fill_in_variables(given.node, given.path, self._values.get, self._findings)
        assert filled is not None  # only a scalar can go away
        for name, child in Given(filled, given.path, self._findings).fields().items():
            value = child.read(_variable_text)
            if value is NOT_GIVEN or value == "":
                continue
            if name in DENIED:
                child.warn("is not taken from a file: it could change what runs here")
                continue
            if self._values.get(name, value) != value:
                child.warn(f"is used; {name} of the environment has another value")
            self._values[name] = value
            self._places[name] = child.place

    def read_settings(self, values: dict[str, Any]) -> None:
        """What the environment itself asks for, into `values`."""
        given: dict[str, str] = {}
        for name, field, kind in VARIABLES:
            value = self.get(name)
            if value is None:
                continue
            place = self._places.get(name, ENVIRONMENT)
            before = given.get(field)
            read_variable(Given(from_variable(name, value, place), name, self._findings), field, kind, values)
            if before and field == "access.master_key" and self._values[before] != value:
                self._findings.warn(f"environment: {name} is used; {before} has another value")
            given[field] = name

    def for_providers(self, names: frozenset[str]) -> dict[str, Secret]:
        """The variables in `names` and those with `PROVIDER_SUFFIXES`, wrapped."""
        kept = {}
        for name, value in self._values.items():
            if name in names or (name.endswith(PROVIDER_SUFFIXES) and name != "PROXY_BASE_URL"):
                kept[name] = Secret(value)
                self._findings.sources[f"environment.{name}"] = str(self._places.get(name, ENVIRONMENT))
                self._asked.add(name)
        return kept

    def warn_of_unused(self) -> None:
        """Variables of the file that nothing here reads."""
        for name, place in self._places.items():
            if name not in self._asked:
                self._findings.warn(f"{place}: environment_variables.{name} is read by nothing here; it has no effect")


def _variable_text(given: Given) -> str:
    """As a shell would have it: booleans become "true" and "false"."""
    if isinstance(given.node.content, bool) and given.node.variable is None:
        return "true" if given.node.content else "false"
    return text(given)
