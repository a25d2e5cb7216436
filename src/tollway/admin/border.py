"""Where their words become ours and back: money, times, keys, and who asks. Shared by the endpoints."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from hashlib import sha256

from starlette.requests import Request

from tollway.admin import Office, Principal
from tollway.errors import BadRequest, NotFound
from tollway.storage import NANO_MAX, KeyRecord, KeyStore

NANO = 1_000_000_000
DAY_US = 86_400_000_000
#: What stands where a key's hash would, for calls made with the master key.
MASTER_KEY_NAME = "litellm_proxy_master_key"
#: LiteLLM's name for the one behind the master key.
MASTER_USER = "default_user_id"


def office_of(request: Request) -> Office:
    office: Office = request.app.state.office
    return office


def principal_of(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


def bad_request(message: str, param: str | None = None) -> BadRequest:
    return BadRequest(message, type="bad_request_error", param=param)


def key_not_found() -> NotFound:
    return NotFound("Key not found in database", param="key")


def nano_of(dollars: Decimal, name: str) -> int:
    """Dollars as they were written, as whole nano-dollars. Raises BadRequest for what is negative or too much."""
    if not dollars.is_finite() or dollars < 0:
        raise bad_request(f"{name} must be a non-negative finite number. Received: {dollars}", name)
    if dollars > Decimal(NANO_MAX) / NANO:
        raise bad_request(f"{name} must be at most {NANO_MAX // NANO} dollars. Received: {dollars}", name)
    return int((dollars * NANO).to_integral_value(ROUND_HALF_EVEN))


def dollars_of(nano: int | None) -> float | None:
    return None if nano is None else nano / NANO


def spent_dollars(nano: int) -> float:
    return nano / NANO


def us_of(moment: datetime) -> int:
    return int((moment - _EPOCH).total_seconds()) * 1_000_000 + moment.microsecond


def iso(us: int | None) -> str | None:
    """Like 2026-12-01T00:00:00+00:00."""
    return None if us is None else moment_of(us).isoformat()


def iso_z(us: int | None) -> str | None:
    """Like 2026-12-01T00:00:00Z."""
    return None if us is None else moment_of(us).isoformat().replace("+00:00", "Z")


def moment_of(us: int) -> datetime:
    seconds, rest = divmod(us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def token_of(key: str) -> bytes:
    """The SHA-256 of a key that is given as itself or as that, in hex."""
    if not key.startswith("sk-") and len(key) == 64:
        try:
            return bytes.fromhex(key)
        except ValueError:
            pass
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


async def key_named(keys: KeyStore, key: str) -> KeyRecord:
    """Raises NotFound."""
    record = await keys.get(token_of(key))
    if record is None:
        raise key_not_found()
    return record


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
