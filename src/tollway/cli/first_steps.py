"""`tollway` in a folder without a configuration: three questions, a `config.yaml`, a gateway that answers.

Whoever says --yes, or has nobody who could answer, is asked nothing. A file that is there is never written over.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from tollway.cli.binding import bind, choose_host
from tollway.cli.flags import CONFIG_HERE, Flags, read_config
from tollway.cli.model_files import PREFIX, SMOLLM2, models_dir
from tollway.cli.refusal import MISUSED, Refused

if TYPE_CHECKING:
    from tollway.cli.gateway_client import GatewayClient
    from tollway.config.settings import Config
    from tollway.pricing.catalog import Catalog

T = TypeVar("T")

#: Names that people give to the file elsewhere.
OTHER_NAMES = (
    *("config.yml", "litellm_config.yaml", "litellm_config.yml", "litellm-config.yaml", "litellm.yaml"),
    *("proxy_config.yaml", "proxy_server_config.yaml"),
)
#: A cheap model to begin with where a provider has many; others get the cheapest of the price list.
FIRST_MODELS = {
    "openai": "gpt-4o-mini",
    "anthropic": "claude-haiku-4-5",
    "gemini": "gemini-flash-latest",
    "mistral": "mistral-small-latest",
    "deepseek": "deepseek-chat",
}
LOCAL = SMOLLM2
LOCAL_TOKENS_MAX = 100
ATTEMPTS = 3
KEY_ALIAS = "first-steps"
#: Variables that name the place of models and keys: then an empty folder says nothing.
ELSEWHERE = ("DATABASE_URL", "TOLLWAY_DATABASE_URL")


class Offer(Struct, frozen=True):
    """Something that can be served: a provider whose key is there, or (`provider` "local") the model of this machine."""

    provider: str
    display: str
    model: str  # the public name that the first call asks for
    provider_model: str  # as the configuration writes it
    variable: str = ""  # where its key is
    to_be_done: str = ""  # before the first start


class Answers(Struct, frozen=True):
    offers: tuple[Offer, ...]
    monthly_usd: str | None  # None: no limit
    keeps_bodies: bool


def here(flags: Flags, *, yes: bool, typed: bool) -> tuple[Flags, Answers | None]:
    """The flags for this folder: with the configuration in it, or with one that is written now, and then what was answered.

    `typed`: something was said on the command line, so that a start without models may be meant. Raises Refused.
    """
    if flags.model is not None or flags.config is not None:
        if yes:
            raise Refused(
                "--yes answers the questions of a first start; with --config and --model there are none",
                exit_code=MISUSED,
            )
        return flags, None
    if Path(CONFIG_HERE).is_file():
        say(f"Serving {CONFIG_HERE} of this folder.")
        return replace(flags, config=CONFIG_HERE), None
    if not yes and any(os.environ.get(name) for name in ELSEWHERE):
        return flags, None
    other = next((name for name in OTHER_NAMES if Path(name).is_file()), None)
    if other is not None:
        raise Refused(f"there is no {CONFIG_HERE} here but a {other}: tollway --config {other}", exit_code=MISUSED)
    if not yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
        if typed:
            return flags, None
        raise Refused(
            f"there is no {CONFIG_HERE} here and nobody to ask: name a file (--config), a model (--model), "
            "or take what is found with --yes",
            exit_code=MISUSED,
        )
    return _begin(flags, yes=yes)


def _begin(flags: Flags, *, yes: bool) -> tuple[Flags, Answers]:
    config = read_config(flags)
    # A port that is taken is told before anybody is asked anything.
    bind(choose_host(config.listen.host, config.access), config.listen.port).close()
    offers = offers_of(config)
    answers = _by_default(offers) if yes else asked(offers)
    for offer in answers.offers:
        if offer.provider == "local":
            _prepare_local()
    _write(CONFIG_HERE, text_of(answers))
    if yes:
        names = ", ".join(f"{offer.display} ({offer.model})" for offer in answers.offers)
        say(f"Chosen: {names}; no limit on spending; requests and answers are kept for the dashboard.")
    say(f"{CONFIG_HERE} is written; change it as you like.\n")
    return replace(flags, config=CONFIG_HERE), answers


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


# --- what can be served


def offers_of(config: Config, environ: Mapping[str, str] | None = None) -> list[Offer]:
    """Providers whose key is in the environment, and the local model last."""
    from tollway.app import catalog_in_force
    from tollway.config.places import data_folder

    catalog, _ = catalog_in_force(data_folder(config))
    found = list(_providers(config, catalog, os.environ if environ is None else environ))
    return [*found, _local()]


def _providers(config: Config, catalog: Catalog, environ: Mapping[str, str]) -> Iterator[Offer]:
    from tollway.app import bare_binder
    from tollway.config.settings import ModelEntry
    from tollway.errors import TollwayError
    from tollway.providers import registry

    binder = bare_binder(config, catalog)
    known = registry.providers()
    used: set[str] = set()
    for name in (*FIRST_MODELS, *sorted(known.keys() - FIRST_MODELS.keys(), key=lambda name: (len(name), name))):
        about = known[name].introduction
        variable = next((one for one in about.key_env if environ.get(one, "").strip()), None)
        if variable is None or variable in used or not about.key_needed:
            continue
        model = FIRST_MODELS.get(name) or _cheapest(catalog, name)
        if model is None:
            continue
        try:
            deployment = binder.bind(ModelEntry(model, f"{name}/{model}"), model, f"{name}/{model}")
        except TollwayError:
            continue
        if deployment.missing is None:
            used.add(variable)
            yield Offer(name, about.display, model, f"{name}/{model}", variable)


def _cheapest(catalog: Catalog, provider: str) -> str | None:
    """The chat model with the cheapest output of those that cost something: free ones often are a trial's."""
    priced = []
    for name in catalog.names_of_provider(provider):
        facts = catalog.find(provider, name)
        if facts is not None and facts.mode == "chat" and facts.price is not None and facts.price.rates.output > 0:
            priced.append((facts.price.rates.output / facts.price.per_nano, name))
    return min(priced)[1] if priced else None


def _local() -> Offer:
    from importlib.util import find_spec

    there = (models_dir() / LOCAL.file_name).is_file()
    steps = [] if find_spec("xllamacpp") else ["installs llama.cpp"]
    steps += [] if there else [f"fetches {LOCAL.file_bytes >> 20} MiB"]
    return Offer(
        "local", "SmolLM2 on this machine", LOCAL.name, PREFIX + LOCAL.name, to_be_done=" and ".join(steps) or "is here"
    )


# --- the questions


def _by_default(offers: list[Offer]) -> Answers:
    """Whatever has a key; without any the local model."""
    with_key = tuple(offer for offer in offers if offer.variable)
    return Answers(with_key or tuple(offers), None, keeps_bodies=True)


def asked(offers: list[Offer]) -> Answers:
    """What the person answers. Raises Refused after ATTEMPTS answers to one question that are none, and at the end of input."""
    usual = _by_default(offers)
    say(f"There is no {CONFIG_HERE} in this folder yet. Three questions; Enter takes what stands in [brackets].\n")
    say("1. Which models?")
    width = max(len(offer.display) for offer in offers)
    for number, offer in enumerate(offers, 1):
        why = f"{offer.variable} is set" if offer.variable else f"no key, no account; {offer.to_be_done}"
        say(f"     {number}  {offer.display:<{width}}  ({why})")
    if len(offers) == 1:
        say("        Other providers are offered when their key is set, such as OPENAI_API_KEY or ANTHROPIC_API_KEY.")
    numbers = ",".join(str(offers.index(offer) + 1) for offer in usual.offers)
    chosen = _ask(f"   Numbers, with commas [{numbers}]: ", lambda text: _chosen(text or numbers, offers))
    budget = _ask("2. How many dollars may be spent in a month? [no limit]: ", _dollars)
    keeps = _ask("3. Keep requests and answers, to read them in the dashboard? [Y/n]: ", _yes_or_no)
    say("")
    return Answers(chosen, budget, keeps)


def _ask(question: str, read: Callable[[str], T]) -> T:
    for _ in range(ATTEMPTS):
        sys.stdout.write(question)
        sys.stdout.flush()
        line = sys.stdin.readline()
        if not line:
            raise Refused("no answer; nothing was written")
        try:
            return read(line.strip())
        except ValueError as error:
            say(f"   {error}")
    raise Refused("no answer that could be read; nothing was written")


def _chosen(text: str, offers: list[Offer]) -> tuple[Offer, ...]:
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() and 1 <= int(word) <= len(offers) for word in words):
        raise ValueError(f"Type numbers from 1 to {len(offers)}, with commas between them.")
    return tuple(offers[int(word) - 1] for word in dict.fromkeys(words))


def _dollars(text: str) -> str | None:
    from decimal import Decimal, InvalidOperation

    if text.lower() in {"", "no", "none", "no limit"}:
        return None
    try:
        amount = Decimal(text.lstrip("$"))
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount <= 0:
        raise ValueError("Type an amount in dollars, such as 25 or 0.50, or nothing for no limit.")
    return f"{amount:f}"


def _yes_or_no(text: str) -> bool:
    if text.lower() not in {"", "y", "yes", "n", "no"}:
        raise ValueError("Type y or n.")
    return not text.lower().startswith("n")


# --- what is written


def text_of(answers: Answers) -> str:
    """The configuration that was asked for, with comments for who changes it."""
    lines = [
        "# Written by `tollway`, and never again: change it as you like. docs/configuration.md lists every setting;",
        "# `tollway check config.yaml` says what is wrong, `tollway doctor` what this machine lacks.",
        "",
        "model_list:",
    ]
    for offer in answers.offers:
        lines += [*_entry(offer), ""]
    if answers.monthly_usd is not None:
        lines += [
            "litellm_settings:",
            f"  max_budget: {answers.monthly_usd}  # dollars for everything that goes through here",
            "  budget_duration: monthly  # anew on the first of each month, UTC",
            "",
        ]
    bodies = "true" if answers.keeps_bodies else "false"
    return "\n".join(
        [
            *lines,
            "general_settings:",
            "  # Requests and answers, for the dashboard: in bodies/, at most 1 GB and 30 days.",
            f"  store_prompts_in_spend_logs: {bodies}",
            "  # Without a master key of yours one is made, and this machine alone is served. To serve others:",
            "  # master_key: os.environ/LITELLM_MASTER_KEY",
            "",
        ]
    )


def _entry(offer: Offer) -> list[str]:
    if offer.provider == "local":
        return [
            f"  # {LOCAL.about}; runs here, costs nothing.",
            f"  - model_name: {offer.model}",
            "    litellm_params:",
            f"      model: {offer.provider_model}",
            f"      max_tokens: {LOCAL_TOKENS_MAX}  # where a call gives none: so small a model does not always come to an end",
        ]
    key = f"os.environ/{offer.variable}"
    return [
        f"  # {offer.display}: a cheap model under its own name, and any other as {offer.provider}/NAME.",
        f"  - model_name: {offer.model}",
        "    litellm_params:",
        f"      model: {offer.provider_model}",
        f"      api_key: {key}",
        f'  - model_name: "{offer.provider}/*"',
        "    litellm_params:",
        f'      model: "{offer.provider}/*"',
        f"      api_key: {key}",
    ]


def _write(path: str, text: str) -> None:
    """Whole or not at all, and never over another."""
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise Refused(f"{path} came to be meanwhile; it is left as it is: start again") from error
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror or error}") from error


def _prepare_local() -> None:
    from importlib.util import find_spec

    from tollway.cli import package_index

    if find_spec("xllamacpp") is None:
        package_index.install_llama_cpp(say=say)
    if not (models_dir() / LOCAL.file_name).is_file():
        from tollway.cli.models import fetch

        fetch(LOCAL)


# --- when it serves


def greet(url: str, master_key: str, answers: Answers | None) -> None:
    """Says how to get in: a link that signs in once, and after a first start a key with a call that works as pasted."""
    from tollway.cli.dashboard import link_in
    from tollway.cli.gateway_client import GatewayClient

    try:
        client = GatewayClient(url, master_key)
        link, minutes = link_in(client)
        lines = [f"  Dashboard  {link}", f"             (signs you in, once, within {minutes} minutes)"]
        if answers is not None:
            lines += ["", "  A key, shown once, and a call with it:", *_curl(url, _key(client), answers)]
        say("\n" + "\n".join(lines))
    except Refused as refused:
        # The gateway serves all the same, and its own announcement says how to sign in.
        with contextlib.suppress(OSError):
            sys.stderr.write(f"tollway: {refused}\n")


def _key(client: GatewayClient) -> str:
    try:
        made = client.post("/key/generate", {"key_alias": KEY_ALIAS})
    except Refused:  # another first start in this folder made one of that name
        made = client.post("/key/generate", {})
    return str(made["key"])


def _curl(url: str, key: str, answers: Answers) -> list[str]:
    model = answers.offers[-1].model if answers.offers[-1].provider == "local" else answers.offers[0].model
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Say hello."}}]}}'
    return [
        "",
        f"curl {url}/v1/chat/completions \\",
        f'  -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\',
        f"  -d '{body}'",
    ]
