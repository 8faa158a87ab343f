"""`sbgw models`: which models the policy knows, what they can do, what they cost; what their providers say; rows from that."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.live_models import Listing, ask, new_rows
from engine.cli.places import policy_option
from engine.cli.run import load
from engine.cli.screen import fail, json_text, table
from engine.llm.messages import JsonObject
from engine.policy.endings import ending

if TYPE_CHECKING:
    from engine.policy.model import Policy


@click.group(invoke_without_command=True)
@policy_option
@click.option("--all", "everything", is_flag=True, help="Also models of providers that have no key.")
@click.option(
    "--live", is_flag=True, help="Ask each provider that is ready which models it serves, and show the differences."
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_context
def models(context: click.Context, policy: str | None, everything: bool, live: bool, as_json: bool) -> None:
    """List the models that requests can be routed to. Nothing is asked of anyone without --live.

    \b
    Examples:
      sbgw models --all
      sbgw models --policy thrifty --json
      sbgw models --live                       what providers serve and no row describes, and the reverse
      sbgw models import ollama --write mine.yaml
    """
    context.obj = policy
    if context.invoked_subcommand is not None:
        return
    loaded = load(policy, None)
    today = date.today()  # noqa: DTZ011 - a vendor's date has no zone
    rows = [row for row in _rows(loaded, today) if row["ready"] or everything]
    listings = asyncio.run(ask(loaded, os.environ)) if live else []
    if as_json:
        document: JsonObject = {"format_version": 1, "models": rows}
        if live:
            document["live"] = [listing.to_json() for listing in listings]
        click.echo(json_text(document, indent=True))
        return
    if live:
        _print_live(listings)
    elif not rows:
        click.echo("no provider is ready: set a key (`sbgw run` lists the variables), or see all with --all")
    else:
        _print_rows(rows)


@models.command("import")
@click.argument("provider")
@click.option(
    "--write", type=click.Path(dir_okay=False, path_type=Path), help="Put the rows into this file instead of printing."
)
@click.option("--all", "everything", is_flag=True, help="Also models that have a row already.")
@policy_option
@click.pass_context
def import_rows(
    context: click.Context, provider: str, write: Path | None, everything: bool, policy: str | None
) -> None:
    """Write rows for the models that PROVIDER lists and no row describes.

    A row claims what the list says plainly and nothing else; no model is marked safe for an agent. `sbgw probe` finds out what
    it can do. Rows that are in the file already are left as they are.

    \b
    Examples:
      sbgw models import ollama
      sbgw models import openrouter --write models.yaml      then: extends: [default, models.yaml]
      sbgw models import mine --policy mine.yaml
    """
    from engine.cli.rows_file import rows_yaml, write_rows

    loaded = load(policy or context.obj, None)
    if provider not in loaded.providers:
        from engine.policy.suggest import did_you_mean

        fail(f"there is no provider '{provider}'{did_you_mean(provider, loaded.providers)}")
    [listing] = asyncio.run(ask(loaded, os.environ, only=provider))
    if listing.error:
        fail(f"{provider} did not list its models: {listing.error}", listing.hint)
    today = date.today().isoformat()  # noqa: DTZ011
    rows = new_rows(listing, today=today, everything=everything)
    if not rows:
        click.echo(f"every model that {provider} lists for text has a row", err=True)
        return
    description = f"Models that {provider} listed on {today}."
    if write is None:
        click.echo(rows_yaml(rows, description), nl=False)
        return
    written = write_rows(write, rows, description, replace=False)
    click.echo(f"{write}: {len(written)} of {len(rows)} rows are new")
    click.echo(
        f"  use them: extends: [default, {write.name}]; find out what a model can do: sbgw probe {next(iter(rows))}"
    )


def _rows(policy: Policy, today: date) -> Iterator[JsonObject]:
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
            "ending": ending(model, today),
            "source": model.source,
            "asOf": model.as_of,
        }


def _print_rows(rows: Sequence[JsonObject]) -> None:
    headings = [
        "model", "ready", "can", "context", "output", "claude code", "codex", "classes", "$/M in", "$/M out",
    ]  # fmt: skip
    table(headings, [_cells(row) for row in rows], right=(3, 4, 8, 9), whole=(1, 5, 6), spare=(7, 2, 4, 6))
    for row in rows:
        if row["ending"]:
            click.echo(
                click.style("warning: ", fg="yellow") + f"{row['model']} {row['ending']}, its vendor says", err=True
            )


def _print_live(listings: Sequence[Listing]) -> None:
    if not listings:
        click.echo("no provider is ready: set a key (`sbgw run` lists the variables)")
    for listing in listings:
        for line in listing.lines():
            click.echo(line)


def _tokens(count: int) -> str:
    return f"{count / 1e6:g}M" if count >= 1_000_000 else f"{count // 1000}k" if count >= 1000 else str(count)


def _cells(row: JsonObject) -> list[str]:
    def price(value: float | None) -> str:
        return "?" if value is None else f"{value:g}"

    return [
        row["model"],
        "yes" if row["ready"] else "-",
        " ".join(word for word in ("tools", "vision", "reasoning") if row[word]),
        _tokens(row["context"]),
        _tokens(row["maxOutput"]),
        row["claudeCodeSafe"],
        row["codexSafe"],
        " ".join(row["classes"]),
        price(row["inputUsd"]),
        price(row["outputUsd"]),
    ]
