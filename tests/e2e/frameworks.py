"""One case of one Python framework, told on standard output as one JSON line; run by the Python that has them installed.

    python frameworks.py FRAMEWORK CASE GATEWAY_URL KEY MODEL WORD

FRAMEWORK: langchain-openai | langchain-responses | langchain-anthropic | pydantic-ai | pydantic-ai-anthropic | instructor
CASE: chat | stream | tools | structured | picture | document | reasoning | cancel | error
"""

from __future__ import annotations

import base64
import json
import sys
from importlib.metadata import distributions
from typing import Any

from inputs import red_png
from pydantic import BaseModel

PICTURE = red_png()
DOCUMENT = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
CANCEL_AFTER = 3


class Place(BaseModel):
    """A place and how many live there."""

    city: str
    people: int


def lookup(city: str) -> str:
    """Looks a city up."""
    return f"{city} found"


def langchain(kind: str, case: str, url: str, key: str, model: str, says: str) -> Any:
    from langchain_core.messages import HumanMessage, ToolMessage

    if kind == "langchain-anthropic":
        from langchain_anthropic import ChatAnthropic

        more: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 1024}} if case == "reasoning" else {}
        chat: Any = ChatAnthropic(model=model, base_url=url, api_key=key, max_retries=0, max_tokens=4000, **more)
    else:
        from langchain_openai import ChatOpenAI

        responses = kind == "langchain-responses"
        more = {"reasoning": {"effort": "low", "summary": "auto"}} if case == "reasoning" and responses else {}
        chat = ChatOpenAI(
            model=model, base_url=f"{url}/v1", api_key=key, max_retries=0, use_responses_api=responses, **more
        )

    def about(message: Any) -> dict[str, Any]:
        usage = message.usage_metadata
        return {"text": message.text, "usage": [usage["input_tokens"], usage["output_tokens"]]}

    if case == "stream":
        whole = None
        for chunk in chat.stream(says):
            whole = chunk if whole is None else whole + chunk
        return about(whole)
    if case == "tools":
        bound = chat.bind_tools([lookup])
        asked = HumanMessage(says)
        first = bound.invoke([asked])
        results = [ToolMessage(lookup(**call["args"]), tool_call_id=call["id"]) for call in first.tool_calls]
        return {"calls": len(first.tool_calls), **about(bound.invoke([asked, first, *results]))}
    if case == "structured":
        return chat.with_structured_output(Place, method="json_schema").invoke(says).model_dump()
    if case in ("picture", "document"):
        image = {"type": "image", "base64": base64.b64encode(PICTURE).decode(), "mime_type": "image/png"}
        file = {
            "type": "file",
            "base64": base64.b64encode(DOCUMENT).decode(),
            "mime_type": "application/pdf",
            "filename": "a.pdf",
        }
        part = image if case == "picture" else file
        return about(chat.invoke([HumanMessage([{"type": "text", "text": says}, part])]))
    if case == "reasoning":
        reply = chat.invoke(says)
        thought = [block["reasoning"] for block in reply.content_blocks if block["type"] == "reasoning"]
        return {"thought": "".join(thought), **about(reply)}
    if case == "cancel":
        stream = chat.stream(says)
        pieces = [next(stream) for _ in range(CANCEL_AFTER)]
        stream.close()
        return {"seen": len(pieces)}
    return about(chat.invoke(says))


def pydantic_ai(kind: str, case: str, url: str, key: str, model: str, says: str) -> Any:
    from pydantic_ai import Agent, BinaryContent, NativeOutput

    chat: Any
    if kind == "pydantic-ai-anthropic":
        from anthropic import AsyncAnthropic
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        client = AsyncAnthropic(base_url=url, api_key=key, max_retries=0)
        chat = AnthropicModel(model, provider=AnthropicProvider(anthropic_client=client))
    else:
        from openai import AsyncOpenAI
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        client = AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
        chat = OpenAIChatModel(model, provider=OpenAIProvider(openai_client=client))
    if case == "structured":
        place = Agent(chat, output_type=NativeOutput(Place)).run_sync(says).output
        return place.model_dump()
    agent = Agent(chat, tools=[lookup] if case == "tools" else [])
    if case == "stream":
        stream = agent.run_stream_sync(says)
        pieces = list(stream.stream_text(delta=True))
        usage = stream.usage() if callable(stream.usage) else stream.usage
        return {"text": "".join(pieces), "usage": [usage.input_tokens, usage.output_tokens]}
    parts = {
        "picture": BinaryContent(PICTURE, media_type="image/png"),
        "document": BinaryContent(DOCUMENT, media_type="application/pdf"),
    }
    asked: Any = [says, parts[case]] if case in parts else says
    if case == "cancel":
        stream = agent.run_stream_sync(says)
        pieces = [piece for piece, _ in zip(stream.stream_text(delta=True), range(CANCEL_AFTER), strict=False)]
        return {"seen": len(pieces)}
    reply = agent.run_sync(asked)
    usage = reply.usage() if callable(reply.usage) else reply.usage
    told = {"text": reply.output, "usage": [usage.input_tokens, usage.output_tokens]}
    if case == "reasoning":
        told["thought"] = "".join(
            part.content for m in reply.all_messages() for part in m.parts if part.part_kind == "thinking"
        )
    return {"calls": usage.tool_calls, **told} if case == "tools" else told


def instructor(kind: str, case: str, url: str, key: str, model: str, says: str) -> Any:
    import instructor as library
    from openai import OpenAI

    client = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
    made = library.from_openai(client, mode=library.Mode.JSON_SCHEMA)
    asked: Any = [{"role": "user", "content": says}]
    return made.chat.completions.create(model=model, messages=asked, response_model=Place, max_retries=0).model_dump()


def main() -> None:
    kind, case, url, key, model, says = sys.argv[1:]
    run = instructor if kind == "instructor" else pydantic_ai if kind.startswith("pydantic-ai") else langchain
    try:
        told = run(kind, case, url, key, model, says)
    except Exception as error:
        status = getattr(error, "status_code", None)
        told = {"error": {"name": type(error).__name__, "status": status, "message": str(error)}}
    print(json.dumps(told))


if __name__ == "__main__":
    if sys.argv[2:] == ["versions"]:
        names = ("openai", "anthropic", "langchain-openai", "langchain-anthropic", "pydantic-ai-slim", "instructor")
        here = {package.name: package.version for package in distributions()}
        print(json.dumps({name: here[name] for name in names if name in here}))
    else:
        main()
