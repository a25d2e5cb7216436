"""CPU of an agent's request of 67 KB, for each API that its client may speak in front of each that its provider may.

    python bench/pairs.py [--rounds 3] [--talk texts|tools] [--clients chat,messages,responses,gemini]
                          [--providers chat,messages,responses,gemini,bedrock] [--seconds 0.8]

Microseconds of CPU per call of the gateway's process tree, as `bench.py` measures them: a virtual key, a budget, spend rows.
The least of the rounds is printed: other work on the machine only ever adds. `texts` is a talk of texts alone; `tools` is the
talk full of tool calls that `bench.py` has. Both come with tools. Ends with 1 when an answer was wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
from bench import agent_request, compact
from targets import HERE, MASTER_KEY, OTHER_CORE, PATH, Failed, Process, Tollway, cpu_us

from tollway.dialects import Traits, anthropic_messages, gemini, openai_chat, openai_responses

CLIENTS: dict[str, tuple[str, Any]] = {
    "chat": (PATH, openai_chat),
    "messages": ("/v1/messages", anthropic_messages),
    "responses": ("/v1/responses", openai_responses),
    "gemini": ("/v1beta/models/{}:generateContent", gemini),
}
#: A model of each provider's API, and what else its entry says.
PROVIDERS: dict[str, tuple[str, str]] = {
    "chat": ("openai/gpt-4o-mini", "/v1"),
    "messages": ("anthropic/claude-sonnet-4-5", ""),
    "responses": ("openai/gpt-5-codex", "/v1"),
    "gemini": ("gemini/gemini-2.5-flash", ""),
    "bedrock": ("bedrock/converse/anthropic.claude-sonnet-4-5-20250929-v1:0", ""),
}
CONNECTIONS = 16


class EveryApi(Tollway):
    """The governed path in front of a provider that answers in every API."""

    def command(self) -> list[str]:
        command = super().command()
        entries = [json.loads('{"model_name":"gpt-4o-mini","litellm_params":{"model":"openai/gpt-4o-mini"}}')]
        for name, (model, base) in PROVIDERS.items():
            entries.append({"model_name": name, "litellm_params": {"model": model, "aws_region_name": "us-east-1"}})
            entries[-1]["litellm_params"]["api_base"] = f"http://127.0.0.1:{self.provider_port}{base}"
            if name != "bedrock":
                del entries[-1]["litellm_params"]["aws_region_name"]
            if name == "responses":
                entries[-1]["model_info"] = {"mode": "responses", "supported_endpoints": ["/v1/responses"]}
        entries[0]["litellm_params"]["api_base"] = f"http://127.0.0.1:{self.provider_port}/v1"
        for entry in entries:
            entry["litellm_params"]["api_key"] = "sk-provider"
        config = {"model_list": entries, "general_settings": {"master_key": MASTER_KEY}}
        (self.folder / "config.yaml").write_text(json.dumps(config))  # YAML, too
        return command

    def prepare(self) -> None:
        limits = {"max_budget": 1_000_000, "budget_duration": "30d", "rpm_limit": 10**9, "tpm_limit": 10**12}
        self.key = self.ask("/key/generate", {"key_alias": "pairs", "models": [*PROVIDERS], **limits})["key"]


def talk_of_texts() -> dict[str, Any]:
    """The agent's request with texts in place of its calls and their results."""
    asked = agent_request()
    system, *_ = asked["messages"]
    messages = [system]
    turn = 0
    while len(compact({**asked, "messages": messages})) < 66_000:
        role = "assistant" if turn % 2 else "user"
        messages.append({"role": role, "content": f"{turn}: what the file does, and what of it must change. " * 12})
        turn += 1
    return {**asked, "messages": messages[: len(messages) // 2 * 2]}  # the user speaks last


def body_of(client: str, provider: str, talk: dict[str, Any]) -> str:
    fields = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in talk.items()}
    conversation = openai_chat.decode_request(fields)
    encoded = CLIENTS[client][1].encode_request(conversation, Traits(model=provider, output_tokens_max=4096))
    if client == "responses":
        encoded.fields["store"] = False
    return msgspec.json.encode(encoded.fields).decode()


def measure(load: Process, target: EveryApi, client: str, provider: str, talk: dict[str, Any], seconds: float) -> float:
    path = CLIENTS[client][0].format(provider)
    job = {"port": target.port, "head": target.head(path), "body": body_of(client, provider, talk), "events": 0}
    before = cpu_us(target.process.pid)
    result = load.ask({**job, "last": "", "connections": CONNECTIONS, "seconds": seconds})
    time.sleep(target.deferred_s)
    if result["bad"] or not result["calls"]:
        raise Failed(f"{client} to {provider}: {result['bad']} of {result['calls']} answers are wrong: {result['why']}")
    return (cpu_us(target.process.pid) - before) / result["calls"]


def run(arguments: argparse.Namespace) -> dict[tuple[str, str], list[float]]:
    talk = talk_of_texts() if arguments.talk == "texts" else agent_request()
    measured: dict[tuple[str, str], list[float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tollway-pairs-")))
        scripts = []
        for script in ("provider.py", "load.py"):
            scripts.append(Process([sys.executable, str(HERE / script)], folder, script, OTHER_CORE, pipes=True))
            stack.callback(scripts[-1].stop)
        provider_process, load = scripts
        target = EveryApi(folder / "tollway", int(provider_process.line()))
        stack.callback(target.process.stop)
        target.prepare()
        for number in range(arguments.rounds + 1):  # the first is for warming up
            seconds = arguments.seconds if number else arguments.seconds / 4
            for provider in arguments.providers:
                for client in arguments.clients:
                    cost = measure(load, target, client, provider, talk, seconds)
                    if number:
                        measured.setdefault((client, provider), []).append(cost)
    return measured


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--talk", choices=["texts", "tools"], default="texts")
    parser.add_argument("--clients", type=lambda text: text.split(","), default=list(CLIENTS))
    parser.add_argument("--providers", type=lambda text: text.split(","), default=list(PROVIDERS))
    parser.add_argument("--seconds", type=float, default=0.8, help="of load in each measurement")
    arguments = parser.parse_args()
    try:
        measured = run(arguments)
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{'client / provider':>18}", *(f"{provider:>10}" for provider in arguments.providers))
    for client in arguments.clients:
        print(f"{client:>18}", *(f"{min(measured[client, provider]):10.0f}" for provider in arguments.providers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
