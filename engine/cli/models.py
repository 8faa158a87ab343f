"""`sbgw models`: which models the policy knows, what they can do, what they cost."""

from __future__ import annotations

import os

import click
import orjson

from engine.cli.places import policy_option
from engine.cli.run import load
from engine.cli.screen import table


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
    from engine.providers.credentials import Credentials
    from engine.providers.prices import PriceTable

    loaded = load(policy, None)
    credentials = Credentials(loaded.providers.values(), os.environ)
    prices = PriceTable.load(loaded.models.values(), loaded.providers)
    rows = []
    for model in loaded.models.values():
        provider = loaded.providers[model.provider]
        ready = provider.enabled and not credentials.missing(provider)
        if not ready and not everything:
            continue
        rate = prices.per_million(model.ref)
        rows.append(
            {
                "model": model.ref,
                "ready": ready,
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
        )
    if as_json:
        click.echo(orjson.dumps({"format_version": 1, "models": rows}, option=orjson.OPT_INDENT_2))
        return
    if not rows:
        click.echo("no provider is ready: set a key (`sbgw run` lists the variables), or see all with --all")
        return

    def price(value: float | None) -> str:
        return "?" if value is None else f"{value:g}"

    table(
        ["model", "ready", "can", "context", "output", "claude code", "codex", "classes", "$/M in", "$/M out"],
        [
            [
                r["model"], "yes" if r["ready"] else "-", " ".join(w for w in ("tools", "vision", "reasoning") if r[w]),
                f"{r['context']:,}", f"{r['maxOutput']:,}", r["claudeCodeSafe"], r["codexSafe"], " ".join(r["classes"]),
                price(r["inputUsd"]), price(r["outputUsd"]),
            ]
            for r in rows
        ],
        right=(3, 4, 8, 9),
    )  # fmt: skip
