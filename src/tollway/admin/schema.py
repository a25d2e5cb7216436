"""The OpenAPI document: the management API as its routes declare it, what its answers hold, and the paths of the data plane.

Bodies of the data plane are described, not checked, from here: providers take more fields than stand here, and those travel on.
A path whose operation has no row in `CALLS` is shown with a body that is an object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from msgspec import Struct, json

from tollway.admin import deployments, offered, state
from tollway.admin.dashboard.lines import CallDetail
from tollway.admin.dashboard.log import LogPage
from tollway.admin.dashboard.overview import Overview, Shares
from tollway.admin.dashboard.playground import Playing
from tollway.admin.dashboard.spend import SpendShown

REF = "#/components/schemas/{name}"
JSON = "application/json"


# --- what clients ask of the data plane


class Message(Struct, kw_only=True, omit_defaults=True):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class ChatRequest(Struct, kw_only=True, omit_defaults=True):
    model: str
    messages: list[Message]
    stream: bool = False
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    stream_options: dict[str, Any] | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None


class MessagesRequest(Struct, kw_only=True, omit_defaults=True):
    model: str
    messages: list[dict[str, Any]]
    max_tokens: int
    system: str | list[dict[str, Any]] | None = None
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class EmbeddingsRequest(Struct, kw_only=True, omit_defaults=True):
    model: str
    input: str | list[Any]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


class ImageRequest(Struct, kw_only=True, omit_defaults=True):
    model: str
    prompt: str
    n: int | None = None
    size: str | None = None
    quality: str | None = None
    response_format: str | None = None


class SpeechRequest(Struct, kw_only=True, omit_defaults=True):
    model: str
    input: str
    voice: str | None = None
    response_format: str | None = None
    speed: float | None = None


class TranscriptionForm(Struct, kw_only=True, omit_defaults=True):
    """`file` is the sound itself."""

    model: str
    file: bytes
    language: str | None = None
    prompt: str | None = None
    response_format: str | None = None
    temperature: float | None = None


class ResponsesRequest(Struct, kw_only=True, omit_defaults=True):
    model: str
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    stream: bool = False
    previous_response_id: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    store: bool | None = None
    metadata: dict[str, Any] | None = None


class CompletionsRequest(Struct, kw_only=True, omit_defaults=True):
    model: str
    prompt: str | list[Any]
    suffix: str | None = None
    stream: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stop: str | list[str] | None = None


class RerankRequest(Struct, kw_only=True, omit_defaults=True):
    model: str
    query: str
    documents: list[Any]
    top_n: int | None = None


class ModerationsRequest(Struct, kw_only=True, omit_defaults=True):
    input: str | list[Any]
    model: str | None = None


class ModelRequest(Struct, kw_only=True, omit_defaults=True):
    model: str


class CallShape(Struct, frozen=True):
    """How a kind of call is asked for: its body, in which content types, and what streams."""

    summary: str
    body: type
    content_types: tuple[str, ...] = (JSON,)
    answer: str = JSON
    streams: bool = False


#: By the operation's name.
CALLS = {
    "chat": CallShape("OpenAI's chat", ChatRequest, streams=True),
    "messages": CallShape("Anthropic's messages", MessagesRequest, streams=True),
    "responses": CallShape("OpenAI's responses", ResponsesRequest, streams=True),
    "completions": CallShape("OpenAI's text completions", CompletionsRequest, streams=True),
    "embeddings": CallShape("Embeddings", EmbeddingsRequest),
    "rerank": CallShape("Documents in the order of how well they answer", RerankRequest),
    "moderations": CallShape("Whether a text is harmful", ModerationsRequest),
    "images_generations": CallShape("Images from words", ImageRequest, streams=True),
    "images_edits": CallShape(
        "Images from images", ImageRequest, content_types=("multipart/form-data", JSON), streams=True
    ),
    "audio_speech": CallShape("Speech from words", SpeechRequest, answer="audio/*", streams=True),
    "images_variations": CallShape("Images like another one", ImageRequest, content_types=("multipart/form-data",)),
    "audio_translations": CallShape(
        "English words from speech", TranscriptionForm, content_types=("multipart/form-data",)
    ),
    "count_message_tokens": CallShape("How many tokens messages count", ModelRequest),
    "audio_transcriptions": CallShape(
        "Words from speech", TranscriptionForm, content_types=("multipart/form-data",), streams=True
    ),
}


# --- what the management API answers


class ErrorFields(Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(Struct):
    error: ErrorFields


class KeyShown(Struct, kw_only=True):
    """A key without its text; money is dollars, moments are ISO 8601. More fields of LiteLLM's stand beside these."""

    token: str
    key_name: str
    key_alias: str | None
    spend: float
    total_spend: float
    max_budget: float | None
    soft_budget: float | None
    budget_duration: str | None
    budget_reset_at: str | None
    expires: str | None
    models: list[str]
    aliases: dict[str, str]
    user_id: str | None
    team_id: str | None
    metadata: dict[str, Any]
    blocked: bool | None
    tpm_limit: int | None
    rpm_limit: int | None
    max_parallel_requests: int | None
    allowed_routes: list[str]
    key_type: str
    created_at: str | None
    last_active: str | None


class KeyPage(Struct, kw_only=True):
    """Keys whole with `return_full_object`, else their hashes."""

    keys: list[KeyShown]
    total_count: int
    current_page: int
    total_pages: int


class MadeKey(Struct, kw_only=True):
    """`key` is the secret, which is in no other answer."""

    key: str
    token: str
    key_name: str
    key_alias: str | None
    expires: str | None
    max_budget: float | None


class ModelParams(Struct, kw_only=True):
    """A deployment's settings without anything secret, and any others."""

    model: str
    api_base: str | None = None
    rpm: int | None = None
    tpm: int | None = None
    weight: float | None = None
    order: int | None = None
    tags: list[str] | None = None
    timeout: float | None = None


class ModelFacts(Struct, kw_only=True):
    """What is known of a model; prices in dollars a token. More facts stand beside these."""

    id: str
    litellm_provider: str
    db_model: bool = False
    mode: str | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    input_cost_per_token: float | None = None
    output_cost_per_token: float | None = None
    cache_read_input_token_cost: float | None = None
    supports_vision: bool | None = None
    supports_function_calling: bool | None = None
    supports_reasoning: bool | None = None
    supports_web_search: bool | None = None
    supports_prompt_caching: bool | None = None
    supports_pdf_input: bool | None = None
    supports_audio_input: bool | None = None
    supports_response_schema: bool | None = None


class ModelShown(Struct, kw_only=True):
    model_name: str
    litellm_params: ModelParams
    model_info: ModelFacts


class ModelList(Struct, kw_only=True):
    data: list[ModelShown]


class EndpointHealth(Struct, kw_only=True):
    model_id: str
    model: str
    api_base: str
    error: str | None = None
    exception_status: int | None = None


class RateLimitsHealth(Struct, kw_only=True):
    """How limits are shared with other processes; since when and why they are not."""

    state: str
    through: str
    processes: int
    since: str | None = None
    why: str | None = None


class ConfigHealth(Struct, kw_only=True):
    """A configuration that was read and is not in force."""

    refused_at: str
    problems: list[str]


class HealthAnswer(Struct, kw_only=True):
    healthy_endpoints: list[EndpointHealth]
    unhealthy_endpoints: list[EndpointHealth]
    healthy_count: int
    unhealthy_count: int
    rate_limits: RateLimitsHealth | None = None
    config: ConfigHealth | None = None


class TriedModel(Struct, kw_only=True):
    """`error` where it did not answer, else what it said, dollars and milliseconds."""

    exception_status: int | None
    response_time_ms: float
    error: str | None = None
    answer: str | None = None
    response_cost: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class ConnectionAnswer(Struct, kw_only=True):
    status: Literal["success", "error"]
    result: TriedModel


class StoredModelShown(Struct, kw_only=True):
    """A model that came through the API; what is secret in `litellm_params` is masked."""

    model_id: str
    model_name: str
    litellm_params: dict[str, Any]
    model_info: dict[str, Any]
    blocked: bool
    created_at: str | None
    created_by: str
    updated_at: str | None
    updated_by: str


class CredentialShown(Struct, kw_only=True):
    """`credential_values` by their names, each masked."""

    credential_name: str
    credential_info: dict[str, Any]
    credential_values: dict[str, str]


class CredentialPage(Struct, kw_only=True):
    credentials: list[CredentialShown]


class AuditShown(Struct, kw_only=True):
    """One change: who made it, of what, and what it looked like before and after."""

    id: str
    updated_at: str | None
    changed_by: str
    changed_by_api_key: str
    action: str
    table_name: str
    object_id: str
    before_value: Any
    updated_values: Any


class AuditPage(Struct, kw_only=True):
    audit_logs: list[AuditShown]
    total: int
    page: int
    page_size: int
    total_pages: int


class SignInProvider(Struct, kw_only=True):
    name: str
    label: str


class SessionState(Struct, kw_only=True):
    """Who is signed in to the dashboard; the rest is there when somebody is, but for `sso`, who else can say who somebody is, for
    `sso_first`, whether to go there at once, and for `passwords`, whether these let anybody in. The master key is nobody's: then
    there is no `user_id`."""

    signed_in: bool
    csrf: str | None = None
    version: str | None = None
    bodies_kept: bool | None = None
    operations: list[str] | None = None
    role: str | None = None
    user_id: str | None = None
    user_email: str | None = None
    has_password: bool | None = None
    sso: list[SignInProvider] | None = None
    sso_first: bool | None = None
    passwords: bool | None = None


class BudgetTable(Struct, kw_only=True):
    """A budget as those show it who are held to it. Money is dollars, rates are by the minute; null is no limit."""

    budget_id: str
    max_budget: float | None
    soft_budget: float | None
    budget_duration: str | None
    budget_reset_at: str | None
    rpm_limit: int | None
    tpm_limit: int | None
    max_parallel_requests: int | None
    model_max_budget: dict[str, Any] | None


class MemberShown(Struct, kw_only=True):
    user_id: str
    user_email: str | None
    role: str
    user_alias: str | None = None


class TeamShown(Struct, kw_only=True):
    """A team. More fields of LiteLLM's stand beside these."""

    team_id: str
    team_alias: str | None
    organization_id: str | None
    members_with_roles: list[MemberShown]
    team_member_permissions: list[str]
    metadata: dict[str, Any]
    max_budget: float | None
    soft_budget: float | None
    budget_duration: str | None
    budget_reset_at: str | None
    rpm_limit: int | None
    tpm_limit: int | None
    max_parallel_requests: int | None
    models: list[str]
    blocked: bool
    spend: float
    created_at: str | None


class TeamListed(TeamShown, kw_only=True):
    organization_alias: str | None
    members_count: int
    keys_count: int


class TeamPage(Struct, kw_only=True):
    teams: list[TeamListed]
    total: int
    page: int
    page_size: int
    total_pages: int


class EditAccess(Struct, kw_only=True):
    """What whoever asks may change of a team: everything, as its administrator these fields and its members, or nothing."""

    kind: Literal["unrestricted", "team_admin", "none"]
    editable_fields: list[str] | None = None


class TeamWhole(TeamShown, kw_only=True):
    """`team_member_budget_table` is the budget of each member who has none of its own."""

    caller_edit_access: EditAccess
    team_member_budget_table: BudgetTable | None


class Membership(Struct, kw_only=True):
    """What a member spent in a team, and the budget that it is held to there."""

    user_id: str
    team_id: str
    spend: float
    total_spend: float
    budget_source: Literal["member", "team_default", "none"]
    litellm_budget_table: BudgetTable | None


class TeamInfo(Struct, kw_only=True):
    team_id: str
    team_info: TeamWhole
    team_memberships: list[Membership]


class TeamPermissions(Struct, kw_only=True):
    team_id: str
    team_member_permissions: list[str]
    all_available_permissions: list[str]


class UserShown(Struct, kw_only=True):
    """A user. More fields of LiteLLM's stand beside these."""

    user_id: str
    user_alias: str | None
    user_email: str | None
    user_role: str | None
    teams: list[str]
    models: list[str]
    max_budget: float | None
    budget_duration: str | None
    budget_reset_at: str | None
    rpm_limit: int | None
    tpm_limit: int | None
    max_parallel_requests: int | None
    spend: float
    created_at: str | None
    blocked: bool | None = None


class UserListed(UserShown, kw_only=True):
    key_count: int


class UserPage(Struct, kw_only=True):
    users: list[UserListed]
    total: int
    page: int
    page_size: int
    total_pages: int


class UserInfo(Struct, kw_only=True):
    """A user with teams; null where keys name one who is not registered."""

    user_id: str | None
    user_info: UserShown | None
    teams: list[TeamShown]


class MadeUser(Struct, kw_only=True):
    """`key` is the text of the user's first key, which is in no other answer; null where none was made."""

    user_id: str
    key: str | None


class OrganizationMember(Struct, kw_only=True):
    user_id: str
    organization_id: str
    user_role: str


class OrganizationShown(Struct, kw_only=True):
    organization_id: str
    organization_alias: str
    budget_id: str | None
    spend: float
    models: list[str]
    metadata: dict[str, Any]
    created_at: str | None
    litellm_budget_table: BudgetTable | None


class OrganizationListed(OrganizationShown, kw_only=True):
    teams_count: int
    members_count: int


class OrganizationPage(Struct, kw_only=True):
    organizations: list[OrganizationListed]
    total: int
    page: int
    page_size: int
    total_pages: int


class OrganizationInfo(OrganizationShown, kw_only=True):
    members: list[OrganizationMember]
    teams: list[TeamShown]


class NamingKey(Struct, kw_only=True):
    token: str
    key_name: str
    key_alias: str | None


class NamingOrganization(Struct, kw_only=True):
    organization_id: str
    organization_alias: str


class NamingCustomer(Struct, kw_only=True):
    user_id: str
    alias: str | None


class NamingTag(Struct, kw_only=True):
    tag_name: str


class NamingMember(Struct, kw_only=True):
    team_id: str
    team_alias: str | None
    user_id: str


class BudgetShown(BudgetTable, kw_only=True):
    """A budget that several share. Who is held to it is known where it was asked for by its id; else it is null."""

    created_at: str | None
    keys: list[NamingKey] | None
    organization: list[NamingOrganization] | None
    end_users: list[NamingCustomer] | None
    tags: list[NamingTag] | None
    team_membership: list[NamingMember] | None
    keys_count: int | None = None
    organization_count: int | None = None
    end_users_count: int | None = None
    tags_count: int | None = None
    team_membership_count: int | None = None


class BudgetPage(Struct, kw_only=True):
    budgets: list[BudgetShown]
    total: int
    page: int
    page_size: int
    total_pages: int


class CustomerShown(Struct, kw_only=True):
    """`spend` is that of its budget's period, or all where it has none."""

    user_id: str
    alias: str | None
    blocked: bool
    spend: float
    models: list[str]
    budget_id: str | None
    litellm_budget_table: BudgetTable | None
    registered: bool | None = None


class CustomerPage(Struct, kw_only=True):
    customers: list[CustomerShown]
    total: int
    page: int
    page_size: int
    total_pages: int


class TagShown(Struct, kw_only=True):
    """A tag; one that calls brought by themselves has a name alone."""

    name: str
    description: str | None
    created_at: str | None
    spend: float | None = None
    registered: bool | None = None
    budget_id: str | None = None
    litellm_budget_table: BudgetTable | None = None


class TagPage(Struct, kw_only=True):
    tags: list[TagShown]
    total: int
    page: int
    page_size: int
    total_pages: int


class EachSum(Struct, kw_only=True):
    """Money is dollars."""

    spend: float
    prompt_tokens: int
    completion_tokens: int
    successful_requests: int
    failed_requests: int
    api_requests: int


class ActivityDay(Struct, kw_only=True):
    """`breakdown` has the same sums by model, provider, key and whoever was asked for."""

    date: str
    metrics: EachSum
    breakdown: dict[str, dict[str, Any]]


class Activity(Struct, kw_only=True):
    results: list[ActivityDay]
    metadata: dict[str, Any]


ANSWERS: dict[str, Any] = {
    "POST /key/generate": MadeKey,
    "POST /key/regenerate": MadeKey,
    "POST /key/{key}/regenerate": MadeKey,
    "GET /key/list": KeyPage,
    "GET /model/info": ModelList,
    "GET /v1/model/info": ModelList,
    "GET /health": HealthAnswer,
    "POST /health/test_connection": ConnectionAnswer,
    "GET /tollway/deployments": deployments.DeploymentList,
    "GET /tollway/deployments/timings": deployments.Timings,
    "GET /tollway/deployments/{id}": StoredModelShown,
    "GET /tollway/providers": offered.ProviderList,
    "GET /tollway/providers/{name}/models": offered.OfferedList,
    "GET /tollway/state": state.GatewayState,
    "POST /model/new": StoredModelShown,
    "POST /model/update": StoredModelShown,
    "GET /credentials": CredentialPage,
    "GET /audit": AuditPage,
    "GET /audit/{id}": AuditShown,
    "GET /ui/api/session": SessionState,
    "POST /ui/api/session": SessionState,
    "DELETE /ui/api/session": SessionState,
    "POST /ui/api/password": SessionState,
    "POST /ui/api/invitation/accept": SessionState,
    "GET /team/info": TeamInfo,
    "GET /team/list": list[TeamShown],
    "GET /v2/team/list": TeamPage,
    "GET /team/permissions_list": TeamPermissions,
    "POST /team/new": TeamShown,
    "POST /user/new": MadeUser,
    "GET /user/info": UserInfo,
    "GET /user/list": UserPage,
    "POST /organization/new": OrganizationInfo,
    "GET /organization/info": OrganizationInfo,
    "GET /organization/list": list[OrganizationInfo] | OrganizationPage,
    "POST /budget/new": BudgetShown,
    "POST /budget/info": list[BudgetShown],
    "GET /budget/list": list[BudgetShown] | BudgetPage,
    "POST /customer/new": CustomerShown,
    "GET /customer/info": CustomerShown,
    "GET /customer/list": list[CustomerShown] | CustomerPage,
    "GET /end_user/list": list[CustomerShown] | CustomerPage,
    "GET /tag/list": list[TagShown] | TagPage,
    "GET /team/daily/activity": Activity,
    "GET /user/daily/activity": Activity,
    "GET /organization/daily/activity": Activity,
    "GET /customer/daily/activity": Activity,
    "GET /tag/daily/activity": Activity,
    "GET /ui/api/spend": SpendShown,
    "GET /ui/api/playground": Playing,
    "GET /ui/api/overview": Overview,
    "GET /ui/api/shares": Shares,
    "GET /ui/api/logs": LogPage,
    "GET /ui/api/logs/{call}": CallDetail,
}


def document(app: FastAPI, call_paths: Mapping[str, str]) -> dict[str, Any]:
    """The schema of an app's routes and of `call_paths` (operations by path)."""
    shapes = {name: CALLS.get(name) or CallShape(name, ModelRequest) for name in set(call_paths.values())}
    types = [*dict.fromkeys((*ANSWERS.values(), ErrorAnswer, *(shape.body for shape in shapes.values())))]
    shown, components = json.schema_components(types, ref_template=REF)
    by_type = dict(zip(types, shown, strict=True))
    found = get_openapi(title=app.title, version=app.version, routes=app.routes)
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            answer = ANSWERS.get(f"{method.upper()} {path}")
            if answer is not None:
                operation["responses"]["200"]["content"] = {JSON: {"schema": by_type[answer]}}
            operation["responses"]["default"] = _refused(by_type)
            operation["tags"] = [path.split("/")[1]]
    for path, name in sorted(call_paths.items()):
        found["paths"].setdefault(path, {})["post"] = _call(path, name, shapes[name], by_type)
    parts = found.setdefault("components", {})
    parts["schemas"] = {**parts.get("schemas", {}), **components}
    parts["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "A virtual key, or the master key."}
    }
    found["security"] = [{"key": []}]
    return found


def _call(path: str, name: str, shape: CallShape, by_type: Mapping[type, dict[str, Any]]) -> dict[str, Any]:
    answers: dict[str, Any] = {
        shape.answer: {"schema": {"type": "object"} if shape.answer == JSON else {"type": "string"}}
    }
    if shape.streams:
        answers["text/event-stream"] = {"schema": {"type": "string"}}
    schema = by_type[shape.body]
    return {
        "tags": ["calls"],
        "summary": shape.summary,
        "operationId": f"{name}{path.replace('/', '_')}",
        "requestBody": {"required": True, "content": {kind: {"schema": schema} for kind in shape.content_types}},
        "responses": {"200": {"description": "The answer", "content": answers}, "default": _refused(by_type)},
    }


def _refused(by_type: Mapping[type, dict[str, Any]]) -> dict[str, Any]:
    return {"description": "What went wrong", "content": {JSON: {"schema": by_type[ErrorAnswer]}}}
