"""`sbgw test --from-record`: a recorded request as a test, ready to be put into a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.screen import PROBLEMS, fail, safe

if TYPE_CHECKING:
    from engine.llm.catalogue import Rate
    from engine.policy.model import Policy
    from engine.policy.testing import Recording
    from engine.store.event import Event

_PRICE_FACTS = frozenset(
    {
        "estimate.cost_usd", "estimate.cold_cost_usd", "estimate.turn_cost_usd", "estimate.switch_cost_usd",
        "model.input_usd", "model.output_usd", "model.cached_usd", "model.price_known",
    }
)  # fmt: skip


def print_test(event_id: str, state: Path) -> None:
    """Print the test of one recorded event; on stderr, whether it would pass now."""
    from engine.policy.testing import write_test

    event = _event(event_id, state / "ledger.sqlite")
    if not event.decision or not event.facts:
        fail(f"event {event.id} has no decision: it ended before the policy was asked", code=PROBLEMS)
    recording = _recording(event, _kept(event.policy, state))
    text = write_test(recording)
    click.echo(text, nl=False)
    beside = Path("policies") if (Path("policies") / recording.policy).is_file() else Path()
    _tell_drift(text, beside / "recorded.test.yaml")


def _event(event_id: str, ledger: Path) -> Event:
    from engine.store.ledger import read_only

    if Path(event_id).is_file():
        return _exported(Path(event_id))
    if not ledger.exists():
        fail("no requests are recorded yet", "start the gateway with `sbgw run`", PROBLEMS)
    with read_only(ledger) as reader:
        event = reader.get(event_id)
    if event is None:
        fail(f"no event '{event_id}'", "`sbgw events` lists them", PROBLEMS)
    return event


def _exported(path: Path) -> Event:
    """The first event of a file: an export's line, or a trace."""
    from engine.store.export import ExportInvalid, read_export

    try:
        event = next(read_export(path.read_bytes().splitlines()), None)
    except (OSError, ExportInvalid) as error:
        fail(f"cannot use {path}: {error}")
    if event is None:
        fail(f"{path} holds no event", code=PROBLEMS)
    return event


def _kept(label: str, state: Path) -> Policy | None:
    """The policy that decided, as it was, if it has been kept."""
    from engine.policy.stored import StoredPolicyInvalid
    from engine.store.policies import PolicyStore

    try:
        return PolicyStore(state).load(label)
    except (StoredPolicyInvalid, OSError):
        return None


def _recording(event: Event, policy: Policy | None) -> Recording:
    from engine.policy.availability import availability_of
    from engine.policy.testing import Recording

    keyed = [p.name for p in policy.providers.values() if p.auth != "none"] if policy is not None else []
    return Recording(
        event=event.id,
        policy=_reference(event.policy),
        facts=event.facts,
        decision=event.decision,
        availability=availability_of(event.availability),
        decided_by=event.policy,
        keyed=keyed,
        prices=_prices(event, policy) if policy is not None else {},
    )


def _reference(label: str) -> str:
    """What `policy:` says: a shipped name, else the file of that name where policies usually are."""
    from engine.policy.shipped import shipped_policies

    name = label.partition("@")[0]
    if name in shipped_policies() and not Path(f"{name}.yaml").exists():
        return name
    return f"{name}.yaml"


def _prices(event: Event, policy: Policy) -> Mapping[str, Rate]:
    """The candidates' prices, if some condition reads a price."""
    from engine.policy.conditions import conditions

    if not any(expression.refs & _PRICE_FACTS for _, expression in conditions(policy)):
        return {}
    refs = [candidate["ref"] for candidate in event.decision.get("candidates", ())]
    return {ref: policy.rates[ref] for ref in refs if ref in policy.rates}


def _tell_drift(text: str, path: Path) -> None:
    """Say so when the policy as it is now does not decide as it was recorded; `path` is where the test would stand."""
    from engine.cli.test import walker
    from engine.policy.testing import read_suite, run_suite

    suite, problems = read_suite(text.encode(), path)
    if suite is None:
        first = next(problem for problem in problems if problem.level == "error")
        click.echo(f"note: it can't run as it is: {safe(first.message)}", err=True)
        return
    for outcome in run_suite(suite, walker=walker).failed:
        for m in outcome.mismatches:
            click.echo(safe(f"note: the policy decides otherwise now: {m.key} is {m.actual}"), err=True)
