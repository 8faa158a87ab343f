"""`sbgw providers`: who can be asked right now, who steps back, why, and until when."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import click

from engine.cli.places import policy_option, state_folder, state_option
from engine.cli.run import load
from engine.cli.running import ask, url_option
from engine.cli.screen import json_text, table
from engine.llm.messages import JsonObject


@click.command()
@url_option
@click.option("--all", "everything", is_flag=True, help="Also providers that have no key.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@policy_option
@state_option
def providers(url: str, everything: bool, as_json: bool, policy: str | None, state_dir: Path | None) -> None:
    """Show which providers work, which step back, why, and until when.

    Asks the running gateway. If none runs, shows the policy's providers and what the last one left in the state folder.

    `degraded` fails now and then and is still asked; `stepped back` failed too often and is asked last; `recovering` is asked a few
    times to see; `cooling down` waits as the provider said, `at its limit` as its row says.

    \b
    Examples:
      sbgw providers
      sbgw providers --all --json
      sbgw providers --url http://127.0.0.1:9000
    """
    state = state_folder(state_dir)
    told = ask(url, "/providers", state)
    live = told is not None
    rows: list[JsonObject] = told["providers"] if told is not None else _remembered(policy, state)
    rows = [row for row in rows if row["key"] or everything]
    if as_json:
        click.echo(json_text({"format_version": 1, "running": live, "providers": rows}, indent=True))
        return
    if not live:
        click.echo(f"no gateway answers at {url}; this is what is known without it", err=True)
    if not rows:
        click.echo("no provider is ready: set a key (`sbgw run` lists the variables), or see all with --all")
        return
    headings = ["provider", "state", "why", "again in", "p50", "errors", "limits used"]
    lines = [cells for row in rows for cells in _cells(row)]
    # A column of blanks takes room for nothing.
    held = [at for at in range(len(headings)) if any(line[at] for line in lines)]
    table(
        [headings[at] for at in held],
        [[line[at] for at in held] for line in lines],
        right=[held.index(at) for at in (3, 4, 5) if at in held],
        whole=[held.index(at) for at in (1, 2) if at in held],
        spare=[held.index(at) for at in (4, 5) if at in held],
    )


def _remembered(policy: str | None, state: Path) -> list[JsonObject]:
    from engine.cli.log import log
    from engine.providers.credentials import Credentials
    from engine.providers.health import Health
    from engine.providers.health_file import HealthFile

    loaded = load(policy)
    health = Health(time.monotonic)
    HealthFile(state, log).load(health, time.monotonic(), time.time())
    return health.snapshot(loaded, Credentials(loaded.providers.values(), os.environ))


def _cells(row: JsonObject) -> Iterator[list[str]]:
    """The provider's line, one for each key if it has several, and one for each model that is not as well as its provider."""
    limits = ", ".join(f"{name} {used['used']:,}/{used['limit']:,}" for name, used in row["limits"].items())
    off = "" if row["enabled"] and row["key"] else "no key" if row["enabled"] else "off"
    yield [row["provider"], *_condition(row, off), limits]
    for key in row.get("keys", ()):
        yield ["  " + key["key"], *_condition({"latencyMs": 0, "errorRate": 0, **key}), ""]
    for model in row["models"]:
        if model["state"] != "closed" or not model["healthy"]:
            named = f" ({model['key']})" if model.get("key") else ""
            yield [f"  {model['model']}{named}", *_condition(model), ""]


_SAID = {"closed": "well", "open": "stepped back"}
"""A breaker's words say the opposite to who does not know breakers. The others, and those of `--json`, stay."""


def _condition(place: JsonObject, off: str = "") -> list[str]:
    wait, limited = place["retryInSeconds"], place.get("limitedForSeconds", 0)
    if limited > wait:
        off, wait, place = off or "at its limit", limited, {**place, "reason": "the row's limits"}
    cooling = wait > 0 and place["state"] != "open"
    return [
        off or ("cooling down" if cooling else _SAID.get(place["state"], place["state"])),
        place["reason"].replace("_", " "),
        _span(wait) if wait else "",
        f"{place['latencyMs']:,.0f} ms" if place["latencyMs"] else "",
        f"{place['errorRate']:.0%}" if place["errorRate"] else "",
    ]


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
