"""`sbgw explain`: why a request was, or would be, decided as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.events import amiss
from engine.cli.places import policy_option, state_folder, state_option
from engine.cli.screen import PROBLEMS, fail, json_text, money, safe

if TYPE_CHECKING:
    from engine.cli.subject import Subject
    from engine.policy.explanation import Explanation
    from engine.policy.model import Policy
    from engine.providers.prices import PriceTable
    from engine.store.event import AttemptEvent, Event


@click.command()
@click.argument("what", metavar="EVENT|FILE|-")
@policy_option
@click.option("--against", metavar="NAME|FILE", help="A second policy: show both decisions and what differs.")
@click.option("--client", default="unknown", show_default=True, help="Who sends the request in FILE, as client.name.")
@click.option("--full", is_flag=True, help="Every variable, every rule asked of a model, every subexpression.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@state_option
def explain(
    what: str,
    policy: str | None,
    against: str | None,
    client: str,
    full: bool,
    as_json: bool,
    state_dir: Path | None,
) -> None:
    """Show why a request is decided as it is: each rule with the values it hung on, each model with what speaks against it.

    EVENT is the beginning of an event's id, or `last`; it is explained by the policy of its time unless --policy names
    another. FILE is a request's JSON in any of the three protocols, or an exported event. Nothing is sent anywhere, and no
    text of the request is shown.

    \b
    Examples:
      sbgw explain last
      sbgw explain 0193a1b2c3d4 --policy mine.yaml --against thrifty
      sbgw explain request.json --client claude-code --full
    """
    from engine.cli.subject import find

    state = state_folder(state_dir)
    subject = find(what, state, client)
    first = policy_for(subject, policy, state)
    explained = explanation_of(subject, first)
    second = explanation_of(subject, priced(against)) if against is not None else None
    if as_json:
        click.echo(json_text(_json(subject, explained, second), indent=True))
        return
    from engine.cli.explain_text import compared, render
    from engine.cli.layout import columns, row

    width = columns()
    for line in row("asked", _heading(subject), indent=10, width=width):
        click.echo(line)
    if second is None:
        lines = render(explained, width=width, full=full)
    else:
        lines = compared(explained, second, width=width)
        if full:
            lines += ["", *render(explained, width=width, full=True), "", *render(second, width=width, full=True)]
    for line in lines:
        click.echo(line)
    if subject.event is not None and subject.event.attempts:
        for line in row("served", _served(subject.event), indent=10, width=width):
            click.echo(line)


def priced(name: str | None) -> Policy:
    """A policy as the gateway would run it: the configuration applied, price facts filled in. Stops when it can't be used."""
    return with_prices(name)[0]


def with_prices(name: str | None) -> tuple[Policy, PriceTable]:
    """The same with its price table."""
    from engine.cli.run import load
    from engine.providers.prices import PriceTable

    loaded = load(name, None)
    prices = PriceTable.load(loaded.models.values(), loaded.providers)
    return loaded.priced(prices.rates()), prices


def policy_for(subject: Subject, named: str | None, state: Path) -> Policy:
    """The policy that is named; without a name the one that decided the event, or the one that `sbgw run` would take."""
    from engine.explained import NotExplained, deciding_policy
    from engine.store.policies import PolicyStore

    if named is not None or subject.event is None or not subject.event.policy:
        return priced(named)
    try:
        return deciding_policy(subject.event, PolicyStore(state))
    except NotExplained as error:
        fail(str(error), "name a policy to ask instead: --policy default", PROBLEMS)


def explanation_of(subject: Subject, policy: Policy) -> Explanation:
    """What the policy says about the subject, and why."""
    from engine.explained import walk
    from engine.policy.explain import explain as ask

    return ask(policy, subject.facts(policy), subject.availability(policy), walk)


def _heading(subject: Subject) -> list[str]:
    """Who asked for what; of a recorded request also when."""
    event = subject.event
    if event is None:
        return [subject.title]
    request = event.facts.get("request", {})
    tokens = event.facts.get("estimate", {}).get("input_tokens")
    parts = [
        f"{subject.title} {event.timestamp[:10]} {event.timestamp[11:19]}",
        " ".join(filter(None, (event.client, event.client_version))),
        event.protocol,
        str(request.get("model", event.requested_model)),
    ]
    return [*filter(None, parts), *([f"about {tokens:,} tokens"] if isinstance(tokens, int) else [])]


def _served(event: Event) -> list[str]:
    """What became of it."""
    tries = [f"{a.provider}/{a.model}{_came_of(a)}" for a in event.attempts]
    tokens = [
        f"{count:,} {word}"
        for count, word in ((event.input_tokens, "tokens in"), (event.output_tokens, "out"))
        if count is not None
    ]
    calls = ", ".join(amiss(event))
    checked = [f"tool calls: {calls}"] if calls else []
    return [*map(safe, tries), *([", ".join(tokens)] if tokens else []), *checked, money(event.cost_usd), event.status]


def _came_of(attempt: AttemptEvent) -> str:
    """How an attempt began, if that was beside another, how it ended, and why nobody was asked beside it."""
    from engine.store.event import UNHEDGED

    beside = f", asked beside it at {attempt.started_ms:,.0f} ms," if attempt.hedge else ""
    ended = (
        f" answered in {attempt.latency_ms:,.0f} ms" if not attempt.meaning
        else f" lost the race after {attempt.latency_ms:,.0f} ms" if attempt.outrun
        else f" failed ({attempt.meaning})"
    )  # fmt: skip
    alone = f", not hedged: {UNHEDGED.get(attempt.unhedged, attempt.unhedged)}" if attempt.unhedged else ""
    return beside + ended + alone


def _json(subject: Subject, explained: Explanation, second: Explanation | None) -> dict[str, object]:
    from engine.policy.difference import deciding_line, differences, explained_outcome

    made: dict[str, object] = {"format_version": 1, "event": subject.event.id if subject.event else None}
    made["explanation"] = explained.to_json()
    if second is not None:
        old, new = explained_outcome(explained), explained_outcome(second)
        made["against"] = second.to_json()
        made["differences"] = list(differences(old, new))
        made["deciding"] = [deciding_line(explained, new).to_json(), deciding_line(second, old).to_json()]
    return made
