"""Which providers there are and what each wants to be told, and the models of theirs that the price list knows: what somebody who
adds a model chooses from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import Response
from msgspec import Struct
from msgspec.json import encode
from starlette.requests import Request

from tollway.admin.border import office_of
from tollway.config.findings import looks_secret
from tollway.errors import NotFound
from tollway.pricing.catalog import Catalog, ModelFacts
from tollway.providers import Introduction, registry

MODELS_MAX = 2_000


class FieldOffered(Struct, frozen=True, kw_only=True):
    """One of `litellm_params` that a provider understands. `set_by` is the environment's variable that gives it already."""

    name: str
    secret: bool
    required: bool
    variables: list[str]
    set_by: str | None


class ProviderOffered(Struct, frozen=True, kw_only=True):
    name: str
    display: str
    docs: str
    base_url: str | None
    operations: list[str]
    fields: list[FieldOffered]


class ProviderList(Struct, frozen=True, kw_only=True):
    providers: list[ProviderOffered]


class ModelOffered(Struct, frozen=True, kw_only=True):
    """A model as the price list has it; prices in dollars a token, None where it says nothing."""

    name: str
    mode: str
    max_input_tokens: int | None
    max_output_tokens: int | None
    input_cost_per_token: float | None
    output_cost_per_token: float | None


class OfferedList(Struct, frozen=True, kw_only=True):
    models: list[ModelOffered]


async def providers(request: Request) -> Response:
    """Every provider, with what it wants to be told and what of that the environment says already."""
    known = office_of(request).config.environment
    shown = [
        _provider(name, registry.providers()[name].introduction, known)
        for name in registry.names()
        if name != "local"  # runs beside the gateway, from its command line
    ]
    shown.sort(key=lambda one: one.display.casefold())
    return Response(encode(ProviderList(providers=shown)), media_type="application/json")


async def models(request: Request, name: str) -> Response:
    """The models of a provider that the price list knows."""
    if registry.find(name) is None:
        raise NotFound(f"No provider is called {name!r}.", param="name")
    shown = list(_models(office_of(request).catalog, name))
    return Response(encode(OfferedList(models=shown)), media_type="application/json")


def _provider(name: str, introduction: Introduction, known: Iterable[str]) -> ProviderOffered:
    return ProviderOffered(
        name=name,
        display=introduction.display,
        docs=introduction.docs,
        base_url=introduction.base_url,
        operations=list(introduction.operations),
        fields=list(_fields(introduction, frozenset(known))),
    )


def _fields(introduction: Introduction, known: frozenset[str]) -> Iterator[FieldOffered]:
    def field(name: str, variables: Iterable[str], *, secret: bool = False, required: bool = False) -> FieldOffered:
        named = list(variables)
        set_by = next((variable for variable in named if variable in known), None)
        needed = required and set_by is None
        return FieldOffered(name=name, secret=secret, required=needed, variables=named, set_by=set_by)

    # What signs in by itself (a machine's role, an application's secret) does not need a key where it has those.
    needs_key = introduction.key_needed and bool(introduction.key_env) and not introduction.parameters
    yield field("api_key", introduction.key_env, secret=True, required=needs_key)
    yield field("api_base", introduction.base_url_env, required=introduction.base_url is None)
    versions = [variable for variable in introduction.other_env if variable.endswith("API_VERSION")]
    if versions:
        yield field("api_version", versions)
    for name in introduction.parameters:
        if not name.endswith("_endpoint"):  # for the configuration to say
            same = name.upper()
            variables = [
                variable for variable in introduction.variables if variable in (same, same.replace("_AI_", "AI_"))
            ]
            yield field(name, variables, secret=looks_secret(name))


def _models(catalog: Catalog, provider: str) -> Iterator[ModelOffered]:
    for name in catalog.names_of_provider(provider)[:MODELS_MAX]:
        facts = catalog.find(provider, name)
        if facts is not None:
            yield _model(name, facts)


def _model(name: str, facts: ModelFacts) -> ModelOffered:
    return ModelOffered(
        name=name,
        mode=facts.mode,
        max_input_tokens=facts.input_tokens_max,
        max_output_tokens=facts.output_tokens_max,
        input_cost_per_token=_number(facts.row.get("input_cost_per_token")),
        output_cost_per_token=_number(facts.row.get("output_cost_per_token")),
    )


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
