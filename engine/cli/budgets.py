"""`sbgw budgets`: what of each budget is spent, set aside and left, and when it begins anew."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path

import click

from engine.cli.places import policy_option, state_folder, state_option
from engine.cli.running import ask, url_option
from engine.cli.screen import fail, json_text, money, table
from engine.llm.messages import JsonObject


@click.command()
@url_option
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@policy_option
@state_option
def budgets(url: str, as_json: bool, policy: str | None, state_dir: Path | None) -> None:
    """Show what of each budget is spent, set aside for requests under way, and left.

    Asks the running gateway. If none runs, works it out from the policy's budgets and the ledger.

    \b
    Examples:
      sbgw budgets
      sbgw budgets --json
      sbgw budgets --policy mine.yaml     without a gateway
    """
    state = state_folder(state_dir)
    told = ask(url, "/budgets", state)
    pots: list[JsonObject] = told["budgets"] if told is not None else _recorded(policy, state)
    if as_json:
        document = {"format_version": 1, "running": told is not None, "budgets": pots}
        click.echo(json_text(document, indent=True))
        return
    if told is None:
        click.echo(f"no gateway answers at {url}; this is what the ledger says", err=True)
    if not pots:
        click.echo("the policy has no budgets, or nobody has drawn from them; README says how to write one")
        return
    headings = ["budget", "of", "limit", "spent", "set aside", "left", "reached", "begins anew"]
    table(headings, [_cells(pot) for pot in pots], right=(2, 3, 4, 5, 6), whole=(7,), spare=(6, 4))
    unknown = sum(pot["unknownCosts"] for pot in pots)
    if unknown:
        click.echo(f"{unknown:,} costs are known to nobody and in no sum")


def _recorded(policy: str | None, state: Path) -> list[JsonObject]:
    from engine.cli.run import load
    from engine.gateway import local
    from engine.store.ledger import read_only
    from engine.store.null_ledger import NullLedger
    from engine.store.standing import standings

    loaded = load(policy)
    moment = local(datetime.now().astimezone(), loaded.settings.timezone)
    path = state / "ledger.sqlite"
    if not path.exists():
        return standings(loaded.budgets, {}, NullLedger().pots, moment)
    try:
        with read_only(path) as reader:
            return standings(loaded.budgets, {}, reader.pots, moment)
    except sqlite3.Error as error:
        fail(f"cannot read {path}: {error}", "start the gateway once: it brings the file up to date")


def _cells(pot: JsonObject) -> list[str]:
    ends = datetime.fromisoformat(pot["resetsAt"]).strftime("%Y-%m-%d %H:%M") if pot["resetsAt"] else "never"
    usd = [money(pot[name]) for name in ("limitUsd", "spentUsd", "reservedUsd", "leftUsd")]
    reached = f"{pot['reached']:.0%}" if pot["reached"] is not None else ""
    return [pot["budget"], ", ".join(pot["of"].values()) or "all", *usd, reached, ends]
