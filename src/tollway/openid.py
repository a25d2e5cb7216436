"""What is true of OpenID Connect and its tokens whichever way round they are used: people who sign in, and tokens that come in the
place of keys. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Where an issuer publishes what it is (https://openid.net/specs/openid-connect-discovery-1_0.html, 4), below its own address.
DISCOVERY = "/.well-known/openid-configuration"
#: Signatures that only the issuer can make: never "none", never one by a secret that both sides know: whoever can check such a
#: token can make one.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")


def claim(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, or at a path with dots ("resource_access.llm.roles"), unless there is one of that very name; None where
    there is none.
    """
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
