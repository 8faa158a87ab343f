"""`sbgw shadow`: what the watching policy would have done."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.places import state_folder, state_option
from engine.cli.screen import json_text, money, safe, table
from engine.llm.messages import JsonObject

if TYPE_CHECKING:
    from engine.store.event import Event


@dataclass(slots=True)
class Opinion:
    """All that one shadow policy said."""

    requests: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    served_usd: float = 0.0
    shadow_usd: float = 0.0
    unpriced: int = 0
    """Requests that one side has no price for; they are in no sum."""

    def add(self, event: Event) -> None:
        said = event.shadow
        self.requests += 1
        self.changes[said["change"]] += 1
        if said["change"] != "same":
            served = f"{event.selected_provider}/{event.selected_model}" if event.selected_model else "refused"
            self.moves[(served, said.get("model") or f"refused by {said.get('denied', '?')}")] += 1
        would, cost = said.get("costEstimateUsd"), event.cost_usd
        if would is None or cost is None:
            self.unpriced += 1
        else:
            self.served_usd += cost
            self.shadow_usd += would

    def as_json(self) -> JsonObject:
        return {
            "requests": self.requests,
            "changes": dict(self.changes),
            "moves": [{"from": a, "to": b, "requests": n} for (a, b), n in self.moves.most_common()],
            "servedUsd": self.served_usd,
            "shadowUsd": self.shadow_usd,
            "unpriced": self.unpriced,
        }


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@state_option
def shadow(as_json: bool, state_dir: Path | None) -> None:
    """Compare the policy that served with the one that watched (`sbgw run --shadow FILE`).

    \b
    Examples:
      sbgw shadow
      sbgw shadow --json
    """
    from engine.store.ledger import read_only

    path = state_folder(state_dir) / "ledger.sqlite"
    opinions: dict[str, Opinion] = defaultdict(Opinion)
    if path.exists():
        with read_only(path) as ledger:
            for event in ledger.events():
                if event.shadow:
                    opinions[event.shadow["policy"]].add(event)
    if as_json:
        document = {"format_version": 1, "policies": {name: opinion.as_json() for name, opinion in opinions.items()}}
        click.echo(json_text(document, indent=True))
    elif not opinions:
        click.echo("no shadow policy has watched yet; start one with `sbgw run --shadow FILE`")
    for name, opinion in {} if as_json else opinions.items():
        _show(name, opinion)


def _show(name: str, opinion: Opinion) -> None:
    click.echo(f"{safe(name)}: {opinion.requests} requests, {opinion.requests - opinion.changes['same']} would differ")
    if opinion.moves:
        table(
            ["served by", "would be", "requests"],
            [[a, b, str(n)] for (a, b), n in opinion.moves.most_common()],
            right=(2,),
        )
    saved = opinion.served_usd - opinion.shadow_usd
    line = (
        f"cost {money(opinion.served_usd)} → {money(opinion.shadow_usd)} (estimate: the same tokens on the other model)"
    )
    click.echo(line + (f", {money(saved)} less" if saved > 0 else ""))
    if opinion.unpriced:
        click.echo(f"{opinion.unpriced} requests without a known price on both sides are not in it")
    click.echo()
