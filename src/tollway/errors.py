"""What may go wrong, each with the status and the public type that a client sees.

    TollwayError
    ├── ConfigError                 a configuration that cannot be obeyed; stops the start, exit code 2
    ├── StorageError                a storage could not answer
    ├── Rejection                   we say no
    │   ├── BadRequest              400  the request cannot be understood
    │   │   └── UnknownModel        400  nobody here serves that model
    │   ├── Unauthenticated         401  no key, a wrong one, a blocked one
    │   │   ├── UnknownKey          401
    │   │   └── ExpiredKey          401
    │   ├── Forbidden               403  known, but not allowed this
    │   │   └── ModelNotAllowed     403
    │   ├── NotFound                404
    │   ├── Conflict                409
    │   ├── BodyTimeout             408  the body came too slowly
    │   ├── BodyTooLarge            413
    │   ├── BudgetExceeded          422  LiteLLM's status; `budget_exceeded_status_code` chooses another
    │   ├── RateLimited             429
    │   └── Unavailable             503  we cannot serve this now
    └── UpstreamError               they failed
        ├── UpstreamRefused         4xx  the provider refuses this request and would refuse it again
        │   ├── ContextWindowExceeded   400
        │   └── ContentPolicyViolation  400
        ├── UpstreamAccountError    503  the provider refuses our account (its 401, 402, 403)
        ├── UpstreamRateLimited     429
        ├── UpstreamTimeout         408  connect, first byte, stall or total deadline
        ├── UpstreamUnreachable     503  no connection
        ├── UpstreamBroken          502  the answer was cut or cannot be read
        └── UpstreamFailed          5xx

Which body a client gets is its dialect's business (`dialects/*.encode_error`). A message names the culprit, says what was
expected and what to do next; no message ever holds a key.
"""

from __future__ import annotations


class TollwayError(Exception):
    """Everything Tollway raises on purpose."""


class ConfigError(TollwayError):
    """A configuration that cannot be obeyed. `problems` holds one sentence each, with path, line and the nearest known key."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StorageError(TollwayError):
    """A storage could not answer; keeps the driver's error as its cause."""


class PublicError(TollwayError):
    """An error that a client gets to see.

    `status` is an HTTP status; `type`, `code` and `param` are the words of OpenAI's error body; `headers` are added to the
    response; `retryable_by_client` False sends `x-should-retry: false`, which the official SDKs obey.
    """

    status = 500
    type = "internal_server_error"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        type: str | None = None,
        code: str | None = None,
        param: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        retryable_by_client: bool = True,
    ) -> None:
        super().__init__(message)
        self.message = message
        if status is not None:
            self.status = status
        if type is not None:
            self.type = type
        self.code = code
        self.param = param
        self.headers = headers
        self.retryable_by_client = retryable_by_client


class Rejection(PublicError):
    """We say no. Settled without cost: nothing was sent to a provider."""


class BadRequest(Rejection):
    status = 400
    type = "invalid_request_error"


class UnknownModel(BadRequest):
    def __init__(self, model: str) -> None:
        super().__init__(
            f"Invalid model name passed in model={model}. Call `/v1/models` to view available models for your key.",
            param="model",
            code="model_not_found",
        )


class Unauthenticated(Rejection):
    status = 401
    type = "auth_error"


class UnknownKey(Unauthenticated):
    type = "token_not_found_in_db"


class ExpiredKey(Unauthenticated):
    type = "expired_key"


class Forbidden(Rejection):
    status = 403
    type = "permission_error"


class ModelNotAllowed(Forbidden):
    """`whose` models it is not among: the key's, or its "team"'s, "user"'s, "org"'s or "customer"'s."""

    type = "key_model_access_denied"

    def __init__(self, model: str, whose: str = "key") -> None:
        super().__init__(
            f"The requested model '{model}' is not available for this API key, or the model name is invalid. "
            "Check the models available to you and try again.",
            type=f"{whose}_model_access_denied",
            param="model",
        )


class NotFound(Rejection):
    status = 404
    type = "not_found_error"


class Conflict(Rejection):
    status = 409
    type = "conflict_error"


class BodyTimeout(Rejection):
    status = 408
    type = "invalid_request_error"


class BodyTooLarge(Rejection):
    status = 413
    type = "invalid_request_error"


class BudgetExceeded(Rejection):
    status = 422
    type = "budget_exceeded"


class RateLimited(Rejection):
    status = 429
    type = "throttling_error"


class Unavailable(Rejection):
    status = 503
    type = "service_unavailable"


class KeysMissing(Unavailable):
    """Who asks can be said once public keys are fetched; they are being fetched."""


class UpstreamError(PublicError):
    """They failed. `deployment` names who; `upstream_status` is theirs; `retry_after_s` is what they asked for."""

    status = 502
    type = "upstream_error"
    #: Another deployment, or the same one a little later, may answer.
    retryable = True
    #: A deployment that fails like this is benched for a while.
    cools = True

    def __init__(
        self,
        message: str,
        *,
        deployment: str = "",
        upstream_status: int | None = None,
        retry_after_s: float | None = None,
        status: int | None = None,
        type: str | None = None,
        code: str | None = None,
        param: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        retryable_by_client: bool = True,
    ) -> None:
        super().__init__(
            message,
            status=status,
            type=type,
            code=code,
            param=param,
            headers=headers,
            retryable_by_client=retryable_by_client,
        )
        self.deployment = deployment
        self.upstream_status = upstream_status
        self.retry_after_s = retry_after_s
        self.provider_said = ""  # where the message does not say it: of our account, for administrators alone


class UpstreamRefused(UpstreamError):
    status = 400
    type = "invalid_request_error"
    retryable = False
    cools = False


class ContextWindowExceeded(UpstreamRefused):
    def __init__(self, message: str, **rest: object) -> None:
        rest["code"] = "context_length_exceeded"
        super().__init__(message, **rest)  # type: ignore[arg-type]  # the same keywords as its parent


class ContentPolicyViolation(UpstreamRefused):
    pass


class UpstreamAccountError(UpstreamError):
    """The provider refuses our account. Never relayed as the gateway's own 401: agents would throw their key away."""

    status = 503


class UpstreamRateLimited(UpstreamError):
    status = 429
    type = "throttling_error"


class UpstreamTimeout(UpstreamError):
    status = 408
    type = "timeout_error"


class UpstreamUnreachable(UpstreamError):
    status = 503
    type = "service_unavailable"


class UpstreamBroken(UpstreamError):
    status = 502


class UpstreamFailed(UpstreamError):
    status = 500
    type = "internal_server_error"
