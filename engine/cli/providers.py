"""`sbgw providers`: who can be asked right now, who steps back, why, and until when."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import click
import orjson

from engine.cli.places import policy_option, state_folder, state_option
from engine.cli.run import load
from engine.cli.screen import fail, table
from engine.llm.messages import JsonObject

_PATIENCE = 3.0
"""Seconds to wait for the gateway's word."""


@click.command()
@click.option("--url", default="http://127.0.0.1:8787", show_default=True, help="Where the gateway listens.")
@click.option("--all", "everything", is_flag=True, help="Also providers that have no key.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@policy_option
@state_option
def providers(url: str, everything: bool, as_json: bool, policy: str | None, state_dir: Path | None) -> None:
    """Show which providers work, which step back, why, and until when.

    Asks the running gateway. If none runs, shows the policy's providers and what the last one left in the state folder.

    \b
    Examples:
      sbgw providers
      sbgw providers --all --json
      sbgw providers --url http://127.0.0.1:9000
    """
    state = state_folder(state_dir)
    rows = _running(url.rstrip("/"), state)
    live = rows is not None
    if rows is None:
        rows = _remembered(policy, state)
    rows = [row for row in rows if row["key"] or everything]
    if as_json:
        click.echo(orjson.dumps({"format_version": 1, "running": live, "providers": rows}, option=orjson.OPT_INDENT_2))
        return
    if not live:
        click.echo(f"no gateway answers at {url}; this is what is known without it", err=True)
    if not rows:
        click.echo("no provider is ready: set a key (`sbgw run` lists the variables), or see all with --all")
        return
    headings = ["provider", "model", "key", "state", "why", "again in", "p50", "errors", "limits used"]
    table(headings, [cells for row in rows for cells in _cells(row)], right=(5, 6, 7))


def _running(url: str, state: Path) -> list[JsonObject] | None:
    """What the gateway at `url` says; None when none answers."""
    import urllib.error
    import urllib.request

    from engine.store.key import gateway_key

    key, _ = gateway_key(state, os.environ)
    if not url.startswith(("http://", "https://")):
        fail(f"not an address of a gateway: {url}", "it looks like http://127.0.0.1:8787")
    request = urllib.request.Request(f"{url}/providers", headers={"x-sbgw-key": key})  # noqa: S310 - checked above
    # The key is for this machine: no proxy of the environment may see it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_PATIENCE) as answer:
            rows: list[JsonObject] = orjson.loads(answer.read())["providers"]
            return rows
    except urllib.error.HTTPError as error:
        error.close()
        hint = "its key is another one: name its state folder with --state-dir, or set STACKBILT_GATEWAY_KEY"
        fail(f"the gateway at {url} answered {error.code}", hint if error.code == 401 else "")
    except (OSError, ValueError, KeyError, TypeError):
        return None


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
    yield [row["provider"], "", "yes" if row["key"] else "-", *_condition(row), limits]
    for key in row.get("keys", ()):
        yield ["", "", key["key"], *_condition({"latencyMs": 0, "errorRate": 0, **key}), ""]
    for model in row["models"]:
        if model["state"] != "closed" or not model["healthy"]:
            yield ["", model["model"], model.get("key", ""), *_condition(model), ""]


def _condition(place: JsonObject) -> list[str]:
    wait = place["retryInSeconds"]
    cooling = not place["healthy"] and place["state"] in ("closed", "degraded")
    return [
        "cooling down" if cooling else place["state"],
        place["reason"].replace("_", " "),
        _span(wait) if wait else "",
        f"{place['latencyMs']:,.0f} ms" if place["latencyMs"] else "",
        f"{place['errorRate']:.0%}" if place["errorRate"] else "",
    ]


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
