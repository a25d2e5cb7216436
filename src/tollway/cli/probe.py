"""`tollway --health` and `tollway --test`: is the gateway that runs there any good?"""

from __future__ import annotations

import sys

from tollway.cli.gateway_client import GatewayClient
from tollway.cli.refusal import Refused

#: Both make the gateway call its providers.
PROVIDERS_S_MAX = 300.0


def health(client: GatewayClient) -> int:
    """Has every deployment tried; one line each. Returns 1 when any is unhealthy."""
    answer = client.get("/health", timeout_s=PROVIDERS_S_MAX)
    for endpoint in answer["healthy_endpoints"]:
        sys.stdout.write(f"healthy    {endpoint.get('model')}\n")
    for endpoint in answer["unhealthy_endpoints"]:
        error = " ".join(str(endpoint.get("error", "")).split())
        sys.stdout.write(f"unhealthy  {endpoint.get('model')}  {error}\n")
    return 1 if answer["unhealthy_endpoints"] else 0


def test(client: GatewayClient, model: str | None) -> int:
    """One short chat call, to the model given or the first one served. Prints what came back."""
    if model is None:
        served = [entry["id"] for entry in client.get("/v1/models")["data"]]
        if not served:
            raise Refused(f"{client.url} serves no model")
        model = served[0]
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "This is a test. Answer with one short sentence."}],
        "max_tokens": 64,
    }
    answer = client.post("/v1/chat/completions", body, timeout_s=PROVIDERS_S_MAX)
    sys.stdout.write(f"{model}: {answer['choices'][0]['message'].get('content')}\n")
    return 0
