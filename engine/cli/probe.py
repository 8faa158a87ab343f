"""`sbgw probe`: may an agent depend on this model? Asked of the model itself."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.places import policy_option, state_folder, state_option
from engine.cli.run import load
from engine.cli.screen import OK, PROBLEMS, fail, json_text, money, safe
from engine.llm.messages import JsonObject

if TYPE_CHECKING:
    from engine.llm.protocol import Target
    from engine.policy.model import Policy
    from engine.probe.examiner import Result
    from engine.probe.verdict import Verdict

_LONG = 16_000
"""Tokens of the long question, unless the model holds less than twice that or the command line says otherwise."""

_MAX_OUTPUT = 8_192
"""Output limit of an answer: a call needs a hundred tokens, a model that thinks first a few thousand."""

_FILE = "probed.yaml"


@click.command()
@click.argument("model", metavar="PROVIDER/MODEL")
@click.option(
    "--as", "agent", type=click.Choice(["claude-code", "codex"]), default="claude-code", show_default=True,
    help="The agent whose tools and protocol the exam takes.",
)  # fmt: skip
@click.option(
    "--repeat", type=click.IntRange(1, 20), default=1, show_default=True, help="How often each question is asked."
)
@click.option(
    "--tokens",
    type=click.IntRange(100, 2_000_000),
    help="Length of the long question.  [default: 16000, at most half the window]",
)
@click.option(
    "--write",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The file for the row.  [default: {_FILE} in the state folder]",
)
@click.option("--no-write", is_flag=True, help="Only report.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable; progress goes to standard error.")
@policy_option
@state_option
def probe(
    model: str,
    agent: str,
    repeat: int,
    tokens: int | None,
    write: Path | None,
    *,
    no_write: bool,
    as_json: bool,
    policy: str | None,
    state_dir: Path | None,
) -> None:
    """Examine a live model: one call, streamed, two at once, nested arguments, a text kept to the letter, the right one of many
    tools, going on from a result, no invented tool, a long prompt. Costs what nine small requests and a long one cost.

    The row says true for the agent if every answer was right, experimental if all that an agent can't do without and three
    quarters of everything were, else false. It changes nothing by itself: it counts in policies that extend the file, field by
    field over the shipped row. Exit code 1: false.

    \b
    Examples:
      sbgw probe ollama/qwen3-coder:30b
      sbgw probe groq/openai/gpt-oss-120b --as codex --repeat 3
      sbgw probe mine/model --policy mine.yaml --tokens 60000 --write rows.yaml
      extends: [default, rows.yaml]            in a policy: use what was found
    """
    from engine.cli.rows_file import write_rows
    from engine.probe.examiner import ProbeStopped
    from engine.probe.verdict import Verdict

    loaded = load(policy, None)
    target = _target(loaded, model, agent)
    long = tokens or min(_LONG, target.model.context // 2)
    if not as_json:
        click.echo(f"{safe(model)} as {agent}, over {target.protocol}")
    try:
        results = asyncio.run(_sit(loaded, target, agent, repeat, long, _progress(to_stderr=as_json)))
    except ProbeStopped as error:
        fail(str(error), "nothing was written")
    verdict = Verdict(agent, results)
    today = date.today().isoformat()  # noqa: DTZ011
    row = verdict.row(target.model, target.provider, own=model in loaded.models, today=today, long=long)
    file = None if no_write else write or state_folder(state_dir) / _FILE
    if file is not None:
        write_rows(file, {model: row}, "What `sbgw probe` found.", replace=True)
    if as_json:
        click.echo(json_text(_json(loaded, target, verdict, row, file), indent=True))
    else:
        _print(loaded, target, verdict, file)
    sys.exit(OK if verdict.safe else PROBLEMS)


def _target(policy: Policy, ref: str, agent: str) -> Target:
    """Where the model is asked. Stops with a clear error where that can't be."""
    from engine.llm.protocol import Target
    from engine.policy.candidates import protocol_of
    from engine.policy.suggest import did_you_mean
    from engine.probe.kits import KITS
    from engine.providers.credentials import Credentials

    name, slash, _ = ref.partition("/")
    provider = policy.providers.get(name)
    if provider is None or not slash:
        fail(f"there is no provider '{name}'{did_you_mean(name, policy.providers)}", "write PROVIDER/MODEL")
    if not policy.catalogue.has(ref):
        rows = [row.name for row in policy.models.values() if row.provider == name]
        fail(f"'{name}' has no model '{ref.partition('/')[2]}'{did_you_mean(ref.partition('/')[2], rows)}")
    if provider.simulated or provider.auth == "client":
        why = "is simulated" if provider.simulated else "takes the login of an agent, which a probe has not"
        fail(f"{name} {why}; it can't be examined")
    if missing := Credentials(policy.providers.values(), os.environ).missing(provider):
        fail(f"{name} has no key", f"set {', '.join(missing)}")
    model = policy.model(ref)
    protocol = protocol_of(model, provider, KITS[agent].protocol, reasoning=False)
    return Target(provider, model, protocol, model.quirks)


async def _sit(
    policy: Policy, target: Target, agent: str, repeat: int, long: int, told: Callable[[Result], None]
) -> list[Result]:
    from engine.probe.exam import questions
    from engine.probe.examiner import Examiner
    from engine.probe.kits import KITS
    from engine.protocols.registry import PROTOCOLS
    from engine.providers.credentials import Credentials
    from engine.providers.transport import Transport

    credentials = Credentials(policy.providers.values(), os.environ)
    transport = Transport()
    await transport.start()
    examiner = Examiner(target, PROTOCOLS[target.protocol], credentials, transport, clock=time.monotonic)
    limit = min(_MAX_OUTPUT, target.model.max_output)
    try:
        exam = list(questions(KITS[agent], model=target.model.name, context=long, max_output=limit))
        return await examiner.sit((question for question in exam for _ in range(repeat)), told)
    finally:
        await transport.close()


def _progress(*, to_stderr: bool) -> Callable[[Result], None]:
    def told(result: Result) -> None:
        mark = click.style("ok  ", fg="green") if result.passed else click.style("FAIL", fg="red")
        question = result.question
        click.echo(f"  {mark}  {question.id:<13} {question.title:<48} {result.seconds:6.1f} s", err=to_stderr)
        if result.reason:
            click.echo(f"        {safe(result.reason)}", err=to_stderr)

    return told


def _spent(policy: Policy, target: Target, results: Sequence[Result]) -> tuple[int, int, float | None]:
    """(tokens in, tokens out, USD or None where nobody knows)."""
    from engine.providers.prices import PriceTable

    prices = PriceTable.load([target.model], policy.providers)
    now = datetime.now(UTC)
    costs = [prices.cost(target.model.ref, result.usage, now).usd for result in results]
    known = [usd for usd in costs if usd is not None]
    tokens_in = sum(result.usage.input_tokens or 0 for result in results)
    tokens_out = sum(result.usage.output_tokens or 0 for result in results)
    return tokens_in, tokens_out, sum(known) if known and len(known) == len(costs) else None


def _print(policy: Policy, target: Target, verdict: Verdict, file: Path | None) -> None:
    tokens_in, tokens_out, usd = _spent(policy, target, verdict.results)
    right = sum(result.passed for result in verdict.results)
    word = verdict.safe if isinstance(verdict.safe, str) else str(verdict.safe).lower()
    click.echo(
        f"score {verdict.score:.2f}, {right} of {len(verdict.results)} right: safe for {verdict.agent}: "
        + click.style(word, bold=True)
        + f"   ({tokens_in:,} tokens in, {tokens_out:,} out, {money(usd)})"
    )
    if file is not None:
        click.echo(f"written to {file}\n  use it: extends: [default, {file.resolve()}]")


def _json(policy: Policy, target: Target, verdict: Verdict, row: JsonObject, file: Path | None) -> JsonObject:
    tokens_in, tokens_out, usd = _spent(policy, target, verdict.results)
    return {
        "format_version": 1,
        "model": target.model.ref,
        "as": verdict.agent,
        "protocol": target.protocol,
        "score": verdict.score,
        "safe": verdict.safe,
        "questions": [
            {
                "id": result.question.id,
                "title": result.question.title,
                "required": result.question.required,
                "passed": result.passed,
                "seconds": round(result.seconds, 2),
                **({"reason": result.reason} if result.reason else {}),
            }
            for result in verdict.results
        ],
        "inputTokens": tokens_in,
        "outputTokens": tokens_out,
        "costUsd": usd,
        "row": row,
        "written": str(file) if file is not None else None,
    }
