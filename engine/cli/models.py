"""`sbgw models`: which models the policy knows, what they can do, what they cost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import orjson

from engine.cli.places import policy_option
from engine.cli.run import load
from engine.cli.screen import table
from engine.llm.messages import JsonObject

if TYPE_CHECKING:
    from engine.policy.model import Policy


@click.command()
@policy_option
@click.option("--all", "everything", is_flag=True, help="Also models of providers that have no key.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def models(policy: str | None, everything: bool, as_json: bool) -> None:
    """List the models that requests can be routed to.

    \b
    Examples:
      sbgw models --all
      sbgw models --policy thrifty --json
    """
    loaded = load(policy, None)
    rows = [row for row in _rows(loaded) if row["ready"] or everything]
    if as_json:
        click.echo(orjson.dumps({"format_version": 1, "models": rows}, option=orjson.OPT_INDENT_2))
    elif not rows:
        click.echo("no provider is ready: set a key (`sbgw run` lists the variables), or see all with --all")
    else:
        headings = [
            "model",
            "ready",
            "can",
            "context",
            "output",
            "claude code",
            "codex",
            "classes",
            "$/M in",
            "$/M out",
        ]
        table(headings, [_cells(row) for row in rows], right=(3, 4, 8, 9))


def _rows(policy: Policy) -> Iterator[JsonObject]:
    """Every model of the policy: capabilities from its row, readiness from the environment, the price of a short prompt."""
    from engine.providers.credentials import Credentials
    from engine.providers.prices import PriceTable

    credentials = Credentials(policy.providers.values(), os.environ)
    prices = PriceTable.load(policy.models.values(), policy.providers)
    for model in policy.models.values():
        provider = policy.providers[model.provider]
        rate = prices.per_million(model.ref)
        yield {
            "model": model.ref,
            "ready": provider.enabled and not credentials.missing(provider),
            "tools": model.tools,
            "vision": model.vision,
            "reasoning": model.reasoning,
            "context": model.context,
            "maxOutput": model.max_output,
            "claudeCodeSafe": model.claude_code_safe,
            "codexSafe": model.codex_safe,
            "classes": list(model.classes),
            "inputUsd": rate[0] if rate else None,
            "outputUsd": rate[1] if rate else None,
            "ends": model.ends,
            "source": model.source,
            "asOf": model.as_of,
        }


def _cells(row: JsonObject) -> list[str]:
    def price(value: float | None) -> str:
        return "?" if value is None else f"{value:g}"

    return [
        row["model"],
        "yes" if row["ready"] else "-",
        " ".join(word for word in ("tools", "vision", "reasoning") if row[word]),
        f"{row['context']:,}",
        f"{row['maxOutput']:,}",
        row["claudeCodeSafe"],
        row["codexSafe"],
        " ".join(row["classes"]),
        price(row["inputUsd"]),
        price(row["outputUsd"]),
    ]
