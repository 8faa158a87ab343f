"""`sbgw dry-run`: what a policy would have done with the requests that were recorded."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from engine.cli.explain import with_prices
from engine.cli.places import state_folder, state_option
from engine.cli.screen import OK, PROBLEMS, USAGE, fail, json_text, safe_lines
from engine.cli.spans import SINCE

if TYPE_CHECKING:
    from datetime import datetime

    from engine.policy.case import ProviderState
    from engine.policy.model import Policy
    from engine.policy.replay import Change, Record, Replay, Side
    from engine.providers.prices import PriceTable

CHANGES = 2
"""Exit code for changes, with --detailed-exitcode."""

_LONG = 2_000
"""Records from which on a progress bar is worth its lines."""


@click.command("dry-run")
@click.argument("new", metavar="NEW")
@click.option("--against", metavar="NAME|FILE", help="Compare with this policy instead of the one that decided then.")
@click.option("--since", type=SINCE, help="Only newer requests: 90m, 12h, 7d, 2w or a date.")
@click.option("--from", "source", metavar="FILE.jsonl", help="Requests from `sbgw events export` instead of the ledger; -: standard input.")  # fmt: skip
@click.option("--where", metavar="CEL", help="Only requests for which this holds, over the facts of the request.")
@click.option(
    "--keys",
    type=click.Choice(["recorded", "now", "all"]),
    default="recorded",
    show_default=True,
    help="Which providers have a key: as then, as in this environment, or all.",
)
@click.option("--all", "everything", is_flag=True, help="Every change, not one example of each kind.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when something changes.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@state_option
def dry_run(
    new: str,
    against: str | None,
    since: datetime | None,
    source: str | None,
    where: str | None,
    keys: str,
    everything: bool,
    detailed_exitcode: bool,
    as_json: bool,
    state_dir: Path | None,
) -> None:
    """Decide recorded requests once more, under NEW and under the policy that decided then, and show what changes.

    Exit codes: 0 fine, 1 rules or records failed, 2 something changes (with --detailed-exitcode), 3 it could not run.
    Nothing is sent anywhere.

    \b
    Examples:
      sbgw dry-run mine.yaml --since 7d
      sbgw dry-run thrifty --against strict --keys all
      sbgw dry-run mine.yaml --from week.jsonl --where 'client.name == "codex"' --detailed-exitcode
    """
    from engine.cli.dry_run_report import as_document, as_text
    from engine.policy.replay import Replay

    state = state_folder(state_dir)
    side = side_of(*with_prices(new))
    fixed = side_of(*with_prices(against)) if against is not None else None
    olds = _Olds(state, fixed, side)
    replay = Replay(
        new=side,
        old=olds.of,
        availability=_States(keys, side.policy, olds).of,
        where=_condition(where, side.policy) if where is not None else None,
        drifting=keys == "recorded" and fixed is None,
    )
    changes = _run(replay, state, since, source, keep=everything)
    if as_json:
        document = as_document(replay, olds.label, changes if everything else None)
        click.echo(json_text(document, indent=True))
    else:
        from engine.cli.layout import columns

        for line in as_text(replay, olds.label, changes if everything else None, width=columns()):
            click.echo(line)
    if replay.failing or any(reason != "there are no facts" for reason in replay.unknown):
        sys.exit(PROBLEMS)
    sys.exit(CHANGES if detailed_exitcode and replay.tallies else OK)


def side_of(policy: Policy, prices: PriceTable) -> Side:
    """A policy with its pipeline and its prices."""
    from engine.pipeline import compile_pipeline
    from engine.policy.replay import Side

    return Side(policy, compile_pipeline(policy).walk, lambda ref, usage, at: prices.cost(ref, usage, at).usd)


@dataclass(slots=True)
class _Olds:
    """The policy to compare with, for each record: the one named, or the one that decided then."""

    state: Path
    fixed: Side | None
    new: Side
    found: dict[str, Side | None] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)

    def of(self, record: Record) -> Side | None:
        if self.fixed is not None:
            return self.fixed
        self.asked[record.policy] = self.asked.get(record.policy, 0) + 1
        return self.recorder(record.policy)

    def recorder(self, label: str) -> Side | None:
        """The policy of a label, as it was kept; None when it was not, or can't be read any more."""
        if label not in self.found:
            self.found[label] = self._load(label)
        return self.found[label]

    def _load(self, label: str) -> Side | None:
        from engine.policy.problems import PolicyInvalid
        from engine.policy.stored import StoredPolicyInvalid
        from engine.providers.prices import PriceTable
        from engine.store.policies import PolicyStore

        try:
            kept = PolicyStore(self.state).load(label)
            if kept is None:
                return None
            return side_of(kept, PriceTable.load(kept.models.values(), kept.providers))
        except (StoredPolicyInvalid, PolicyInvalid, OSError) as error:
            click.echo(safe_lines(f"{label} can't be asked any more: {error}"), err=True)
            return None

    @property
    def label(self) -> str:
        """The old side in a few words."""
        if self.fixed is not None:
            return self.fixed.policy.label
        labels = sorted(self.asked, key=lambda label: -self.asked[label])
        others = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        return (labels[0] or "unknown") + others if labels else "nothing"


@dataclass(slots=True)
class _States:
    """The providers' states of a record: as recorded, but for keys that are to be taken from elsewhere."""

    keys: str
    policy: Policy
    olds: _Olds
    made: dict[tuple[str, bytes], Mapping[str, ProviderState]] = field(default_factory=dict)
    environment: Mapping[str, bool] | None = None

    def of(self, record: Record) -> Mapping[str, ProviderState]:
        key = (record.policy, orjson.dumps(record.states))
        if key not in self.made:
            if len(self.made) > 1000:
                self.made.clear()
            self.made[key] = self._make(record)
        return self.made[key]

    def _make(self, record: Record) -> Mapping[str, ProviderState]:
        from dataclasses import replace

        from engine.policy.availability import availability_of
        from engine.policy.case import READY

        recorder = self.olds.recorder(record.policy)
        states = dict(availability_of(record.states))
        for name in {*states, *self.policy.providers}:
            state = states.get(name, READY)
            # A provider that was not there then has no recorded state: its key is the one of now.
            unseen = recorder is not None and name not in recorder.policy.providers
            if self.keys == "all":
                states[name] = replace(state, key=True)
            elif self.keys == "now" or unseen:
                states[name] = replace(state, key=self._has_key(name))
        return states

    def _has_key(self, name: str) -> bool:
        if self.environment is None:
            from engine.providers.credentials import Credentials

            rows = self.policy.providers
            credentials = Credentials(rows.values(), os.environ)
            self.environment = {key: not credentials.missing(row) for key, row in rows.items()}
        return self.environment.get(name, True)


def _condition(source: str, policy: Policy) -> Callable[[Mapping[str, Any]], bool]:
    """A filter over the facts of a request. Stops when it is wrong."""
    from engine.policy.cel import CelProblems, check, environment_from_schema, parse, struct
    from engine.policy.cel.types import BOOL
    from engine.policy.facts import schema
    from engine.policy.replay import holds

    known = {k: v for k, v in schema()["properties"].items() if v.get("x-phase") != "candidate" and k != "vars"}
    environment = environment_from_schema({"type": "object", "properties": known})
    environment = environment.with_field("signals", struct(dict.fromkeys(policy.signals, BOOL)))
    try:
        checked = check(parse(source), environment, "bool")
    except CelProblems as error:
        problem = error.problems[0]
        fail(
            f"--where: {problem.message}", problem.hint or "it is a CEL condition over the facts of the request", USAGE
        )
    program = checked.program()
    return lambda facts: holds(facts, program.eval)


def _run(replay: Replay, state: Path, since: datetime | None, source: str | None, *, keep: bool) -> list[Change]:
    """Take every record; the changes, if they are to be kept."""
    changes: list[Change] = []
    # Nothing here makes cycles, and walking ten thousand records for them takes longer than deciding.
    gc.disable()
    try:
        with _records(state, since, source) as (records, total), _progress(records, total) as shown:
            for record in shown:
                _, change = replay.take(record)
                if keep and change is not None:
                    changes.append(change)
    finally:
        gc.enable()
    return changes


@contextmanager
def _records(state: Path, since: datetime | None, source: str | None) -> Iterator[tuple[Iterable[Record], int]]:
    """What was recorded, in the order of time, and how many there are."""
    from engine.cli.subject import ledger
    from engine.store.event import timestamp_of
    from engine.store.export import read_export
    from engine.store.records import record_of
    from engine.store.rows import Filter

    if source is None:
        where = Filter(since=since)
        with ledger(state) as reader:
            yield reader.records(where), reader.count(where)
        return
    try:
        lines = sys.stdin.buffer.readlines() if source == "-" else Path(source).read_bytes().splitlines()
        found = sorted(read_export(lines), key=lambda event: (event.timestamp, event.id))
        found = [event for event in found if since is None or event.timestamp >= timestamp_of(since)]
        records = [record_of(event) for event in found if event.status != "open"]
    except OSError as error:
        fail(f"cannot read {source}: {error.strerror}")
    except ValueError as error:
        fail(f"{source}: {error}", "it takes what `sbgw events export` writes")
    yield records, len(records)


@contextmanager
def _progress(records: Iterable[Record], total: int) -> Iterator[Iterable[Record]]:
    """The records, with a bar on standard error when there are many and someone looks."""
    if total < _LONG or not sys.stderr.isatty():
        yield records
        return
    with click.progressbar(records, length=total, label="deciding", file=sys.stderr, update_min_steps=200) as bar:
        yield bar
