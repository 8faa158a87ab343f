"""Prints what parsing, checking, compiling and evaluating an expression cost; asserts nothing. Run: python tests/bench/bench_cel.py."""

from __future__ import annotations

import contextlib
import sys
import timeit
from pathlib import Path

import orjson

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.policy import cel  # noqa: E402

EXPRESSIONS = (
    'request.model == "gpt-4o"',
    "request.tools == 0 && estimate.input_tokens < 2000",
    'request.temperature > 0.5 && !request.stream && request.model.startsWith("gpt-")',
    "estimate.input_tokens + estimate.output_tokens <= model.context",
    '"Bash" in request.tool_names',
    'request.protocol in ["openai-chat", "openai-responses"]',
    'request.tool_names.exists(t, t == "Tool63")',
    'request.tool_names.exists(t, t == "Tool0")',
    'request.tool_names.filter(t, t.startsWith("mcp__")).size() > 3',
    'request.model.matches(r"^(claude|gpt)-[0-9]")',
    "signals.absent || request.stream",
    "budget.day_usd + estimate.cost_usd > 5 && !model.local",
)


def facts() -> dict[str, object]:
    """The defaults of the facts schema with 64 tools."""
    schema = orjson.loads((ROOT / "schemas/facts.schema.json").read_bytes())

    def fill(node: dict[str, object]) -> object:
        return node["default"] if "default" in node else {k: fill(v) for k, v in node.get("properties", {}).items()}

    made = fill(schema)
    made["request"]["tool_names"] = [f"Tool{i}" for i in range(64)]
    return made


def micros(call, budget: float = 0.1) -> float:
    """Best of three, in microseconds a call."""
    timer = timeit.Timer(call)
    number, took = timer.autorange()
    number = max(1, int(number * budget / max(took, 1e-9)))
    return min(timer.repeat(3, number)) / number * 1e6


def main() -> None:
    environment = cel.environment_from_schema(orjson.loads((ROOT / "schemas/facts.schema.json").read_bytes()))
    context = facts()
    cel.parse("true")
    sys.stdout.write(f"{'parse':>8} {'check':>8} {'compile':>8} {'eval':>8} {'trace':>8}  µs\n")
    for source in EXPRESSIONS:
        parsed = cel.parse(source)
        checked = cel.check(parsed, environment)
        program = checked.program()
        times = (
            micros(lambda source=source: cel.parse(source)),
            micros(lambda parsed=parsed: cel.check(parsed, environment)),
            micros(checked.program),
            micros(lambda program=program: _quiet(program, context)),
            micros(lambda checked=checked: checked.trace(context)),
        )
        sys.stdout.write(" ".join(f"{t:8.2f}" for t in times) + f"  {source}\n")


def _quiet(program: cel.Program, context: dict[str, object]) -> None:
    with contextlib.suppress(cel.ExprError):
        program.eval(context)


if __name__ == "__main__":
    main()
