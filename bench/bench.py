"""CPU of the gateway per call, next to a plain uvicorn proxy and nginx (where it is installed), in one run.

    python bench/bench.py [--rounds 3] [--scenarios sat,big,stream,c1,across,across-stream] [--targets tollway,uvicorn,nginx]
                          [--seconds 0.8] [--instructions] [--json FILE]

The unit is microseconds of CPU per call, user and system, of the target's whole process tree: it holds still where
calls per second and latencies do not. Each round measures every target once in every scenario; ratios are taken within
a round, and their median is printed. `tollway` is the governed path: a virtual key with a budget and limits, journal
and spend rows on; the others check and write nothing. Targets run on core 0; provider and load share core 1.

Ends with 1 when an answer was wrong or a call is missing in the spend log. Needs Linux (/proc). See docs/performance.md.
"""

# ruff: noqa: S603  the commands are written here; perf is whichever the machine has
from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from provider import ANSWER_TOKENS, EVENTS, PROMPT_TOKENS, STREAM_TOKENS
from targets import HERE, MODEL, OTHER_CORE, PATH, TARGETS, Failed, Process, Target, Tollway, cpu_us, tree

#: Dollars per token of `MODEL` in the catalog: what the spend log must add up to.
PRICE_IN, PRICE_OUT = 0.15e-6, 0.6e-6


class Scenario(NamedTuple):
    what: str
    connections: int
    body: Callable[[], str]
    events: int = 0  # in the provider's answer; 0: it is JSON
    path: str = PATH  # another: in another API than the provider's, which only Tollway is asked
    shown: int = 0  # events that the client sees
    last: str = "data: [DONE]"


def small_body(**more: Any) -> str:
    system = "You are a helpful assistant that answers concisely and politely. Always cite your sources."
    asked = (
        "Explain in two paragraphs what a reverse proxy does and why one would stand in front of a fleet of language"
        " model providers. Mention connections that are kept, tries after failures, and the accounting of costs."
    )
    messages = [{"role": "system", "content": system}, {"role": "user", "content": asked}]
    return compact({"model": MODEL, "messages": messages, "temperature": 0.7, "max_tokens": 256, **more})


def agent_body() -> str:
    return compact(agent_request())


def agent_request() -> dict[str, Any]:
    """What an agent sends: a long system prompt, tools with schemas, and a talk full of tool calls. 67 KB."""
    system = "You are an agent in a terminal. Read before you write, and say what you did. " * 90
    properties = {
        name: {"type": "string", "description": f"The {name} to work on, relative to the workspace."}
        for name in ("path", "pattern", "command", "content")
    }
    tools = [
        {
            "type": "function",
            "function": {
                "name": f"tool_{n}",
                "description": "Does one thing to the workspace and says what came of it. " * 4,
                "parameters": {"type": "object", "properties": properties, "required": ["path"]},
            },
        }
        for n in range(24)
    ]
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
    turn = 0
    while len(compact({"messages": messages, "tools": tools})) < 66_800:
        call = {"name": f"tool_{turn % 24}", "arguments": compact({"path": f"src/file_{turn}.py", "pattern": "def"})}
        messages += [
            {"role": "user", "content": f"Now look at file {turn} and tell me what it is for."},
            {"role": "assistant", "tool_calls": [{"id": f"call_{turn}", "type": "function", "function": call}]},
            {"role": "tool", "tool_call_id": f"call_{turn}", "content": "def step(call):\n    return call\n" * 16},
        ]
        turn += 1
    return {"model": MODEL, "messages": messages, "tools": tools, "max_tokens": 4096}


def anthropic_body() -> str:
    """The same as an agent says it that speaks Anthropic's Messages."""
    asked = agent_request()
    messages: list[dict[str, Any]] = []
    for message in asked["messages"][1:]:
        content: Any = message.get("content")
        if message["role"] == "tool":
            content = [{"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": content}]
        elif "tool_calls" in message:
            (call,) = message["tool_calls"]
            function = call["function"]
            used = {"id": call["id"], "name": function["name"], "input": json.loads(function["arguments"])}
            content = [{"type": "tool_use", **used}]
        messages.append({"role": "assistant" if message["role"] == "assistant" else "user", "content": content})
    functions = [tool["function"] for tool in asked["tools"]]
    tools = [
        {"name": one["name"], "description": one["description"], "input_schema": one["parameters"]} for one in functions
    ]
    return compact(
        {"model": MODEL, "system": asked["messages"][0]["content"], "messages": messages, "tools": tools}
        | {"max_tokens": asked["max_tokens"]}
    )


def small_anthropic_body() -> str:
    asked = json.loads(small_body(stream=True))
    return compact(asked | {"system": asked["messages"][0]["content"], "messages": asked["messages"][1:]})


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


SCENARIOS = {
    "sat": Scenario("450 B in, 1.2 KB out", 32, small_body),
    "big": Scenario("67 KB in, 1.2 KB out", 16, agent_body),
    "stream": Scenario(
        f"{EVENTS} events, per event",
        16,
        lambda: small_body(stream=True, stream_options={"include_usage": True}),
        EVENTS,
        shown=EVENTS,
    ),
    "c1": Scenario("450 B in, 1.2 KB out", 1, small_body),
    "across": Scenario("67 KB of Anthropic's API in, 1.2 KB out", 16, anthropic_body, path="/v1/messages"),
    "across-stream": Scenario(
        f"{EVENTS} events told in Anthropic's API, per event",
        16,
        small_anthropic_body,
        EVENTS,
        "/v1/messages",
        EVENTS - 3 + 5,  # the words, and what begins and ends a message and its block
        "event: message_stop",
    ),
}


def asked_of(name: str, target: Target) -> bool:
    return SCENARIOS[name].path == PATH or isinstance(target, Tollway)


def ask_load(load: Process, target: Target, name: str, seconds: float) -> dict[str, Any]:
    """Has the target answered for so long; every answer must be right."""
    scenario = SCENARIOS[name]
    job = {"port": target.port, "head": target.head(scenario.path), "body": scenario.body()}
    job |= {"events": scenario.shown, "last": scenario.last}
    target.process.check()
    result: dict[str, Any] = load.ask({**job, "connections": scenario.connections, "seconds": seconds})
    if result["bad"] or not result["calls"]:
        wrong = f"{result['bad']} of {result['calls']} answers are wrong: {result['why']}"
        raise Failed(f"{target.name}, {name}: {wrong}")
    if scenario.events:
        target.streams += result["calls"]
    else:
        target.answers += result["calls"]
    return result


def measure(load: Process, target: Target, name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One target in one scenario, with what it puts off until after its last answer."""
    stop_counting = count_instructions(target.process.pid) if arguments.instructions else None
    before = cpu_us(target.process.pid)
    result = ask_load(load, target, name, arguments.seconds)
    time.sleep(target.deferred_s)
    used = cpu_us(target.process.pid) - before
    units = result["calls"] * (SCENARIOS[name].events or 1)
    row = {"target": target.name, "scenario": name, "cpu_us": used / units, **result}
    if stop_counting is not None:
        row["instructions"] = {by: count / units for by, count in stop_counting().items()}
    return row


def count_instructions(pid: int) -> Callable[[], dict[str, float]]:
    """Counts from now on; what is returned ends the count and gives the instructions of the tree, by who executed them."""
    events = {"user": "instructions:u", "kernel": "instructions:k"}
    pids = ",".join(map(str, tree(pid)))
    command = ["perf", "stat", "-x,", "-e", ",".join(events.values()), "-p", pids]
    perf = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    time.sleep(0.2)  # it says nothing when it has begun

    def end() -> dict[str, float]:
        perf.send_signal(signal.SIGINT)
        said = perf.communicate(timeout=10)[1].strip()
        counted = [line.split(",")[0] for line in said.splitlines()]
        if len(counted) != len(events) or not all(count.isdigit() for count in counted):
            raise Failed(f"perf cannot count here: {said[:300]}")
        return dict(zip(events, map(float, counted), strict=True))

    return end


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tollway-bench-")))

        def start(script: str) -> Process:
            command = [sys.executable, str(HERE / script)]
            process = Process(command, folder, script, OTHER_CORE, pipes=True)
            stack.callback(process.stop)
            return process

        provider, load = start("provider.py"), start("load.py")
        port = int(provider.line())
        targets: list[Target] = []
        for name in arguments.targets:
            target = TARGETS[name](folder / name, port)
            stack.callback(target.process.stop)
            target.prepare()
            targets.append(target)
        for name in arguments.scenarios:
            for target in (one for one in targets if asked_of(name, one)):  # nobody is measured cold
                ask_load(load, target, name, arguments.seconds / 8)
        for number in range(arguments.rounds):
            for name in arguments.scenarios:
                asked = [target for target in targets if asked_of(name, target)]
                rows += [{"round": number, **measure(load, target, name, arguments)} for target in asked]
        about: dict[str, dict[str, Any]] = {target.name: {"cold_s": target.cold_s} for target in targets}
        for target in targets:
            if isinstance(target, Tollway):
                about[target.name] |= {"memory_mb": target.memory_mb, **compare_spend(target)}
    return {"machine": machine(), "about": about, "rows": rows}


def compare_spend(target: Tollway) -> dict[str, Any]:
    """What the spend log says, next to what was answered."""
    stored, dollars = target.stored()
    tokens_in = PROMPT_TOKENS * (target.answers + target.streams)
    tokens_out = ANSWER_TOKENS * target.answers + STREAM_TOKENS * target.streams
    expected = tokens_in * PRICE_IN + tokens_out * PRICE_OUT
    return {
        "answered": target.answers + target.streams,
        "stored": stored,
        "spend": dollars,
        "spend_expected": expected,
        "complete": stored == target.answers + target.streams and abs(dollars - expected) < 1e-9,
    }


def machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
    }


# --- what is printed ------------------------------------------------------------------------------------------------


def show(result: dict[str, Any], arguments: argparse.Namespace) -> None:
    for scenario in arguments.scenarios:
        what = SCENARIOS[scenario]
        measured = [name for name in arguments.targets if rows_of(result, scenario, name)]
        peers = [name for name in measured if name != Tollway.name]
        print(f"\n{scenario}: {what.what}, connections: {what.connections}")
        against = "".join(f"  {'of ' + peer:>10}" for peer in peers)
        print(f"  {'target':8}  {'CPU us':>8}  {'min':>8}  {'max':>8}  {'calls/s':>8}  {'p50 us':>8}{against}")
        for target in measured:
            rows = rows_of(result, scenario, target)
            used = [row["cpu_us"] for row in rows]
            rate = statistics.median(row["calls"] / row["seconds"] for row in rows)
            latency = statistics.median(row["p50_us"] for row in rows)
            line = f"  {target:8}  {statistics.median(used):8.2f}  {min(used):8.2f}  {max(used):8.2f}"
            line += f"  {rate:8.0f}  {latency:8.0f}"
            line += "".join(f"  {ratio(result, scenario, target, peer):9.2f}x" for peer in peers)
            if arguments.instructions:
                for by in ("user", "kernel"):
                    line += f"  {statistics.median(row['instructions'][by] for row in rows):8.0f} {by}"
            print(line)
    print()
    for name, about in result["about"].items():
        line = f"{name}: first answer {about['cold_s']:.2f} s after its start"
        if "memory_mb" in about:
            line += f", {about['memory_mb']:.0f} MB after one call and one /key/info"
        print(line)
        if "complete" in about:
            verdict = "all" if about["complete"] else "NOT ALL"
            print(
                f"{name}: {about['answered']} calls answered, {about['stored']} in the spend log"
                f" (${about['spend']:.6f} of ${about['spend_expected']:.6f}): {verdict} accounted for"
            )


def rows_of(result: dict[str, Any], scenario: str, target: str) -> list[dict[str, Any]]:
    return [row for row in result["rows"] if row["scenario"] == scenario and row["target"] == target]


def ratio(result: dict[str, Any], scenario: str, target: str, peer: str) -> float:
    """The median of the rounds' ratios."""
    pairs = zip(rows_of(result, scenario, target), rows_of(result, scenario, peer), strict=True)
    return statistics.median(ours["cpu_us"] / theirs["cpu_us"] for ours, theirs in pairs)


def read_arguments() -> argparse.Namespace:
    def some_of(known: Any) -> Callable[[str], list[str]]:
        def read(text: str) -> list[str]:
            names = text.split(",")
            if unknown := [name for name in names if name not in known]:
                raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: known are {', '.join(known)}")
            return names

        return read

    there = [name for name in TARGETS if name != "nginx" or shutil.which("nginx")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scenarios", type=some_of(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--targets", type=some_of(TARGETS), default=there)
    parser.add_argument("--seconds", type=float, default=0.8, help="of load in each measurement")
    parser.add_argument("--instructions", action="store_true", help="count instructions too, with perf")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there")
    return parser.parse_args()


def main() -> int:
    arguments = read_arguments()
    if not Path("/proc/self/schedstat").exists():
        print("This measures by /proc/*/task/*/schedstat, which this system does not have.", file=sys.stderr)
        return 1
    if "nginx" not in arguments.targets:
        print("nginx is not measured: it is not asked for, or not on PATH.", file=sys.stderr)

    def leave(*_: Any) -> None:
        raise KeyboardInterrupt

    for asked in (signal.SIGINT, signal.SIGTERM):  # what was started is stopped on both, in the background too
        signal.signal(asked, leave)
    try:
        result = run(arguments)
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    show(result, arguments)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1))
    return 0 if all(about.get("complete", True) for about in result["about"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
