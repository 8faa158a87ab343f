"""A recorded request as a test: it holds under the policy that decided it, and it is what a person would put into a file."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine.cli import cli
from engine.policy.availability import availability_json
from engine.policy.decide import decide
from engine.policy.shipped import shipped_folder, shipped_policies
from engine.policy.testing import Recording, load_suite, read_suite, run_suite, write_test
from engine.policy.testing.given import World, world
from engine.store.event import Event, decision_json
from engine.store.ledger import Ledger
from engine.store.policies import PolicyStore
from tests.policy.testing.builders import FOLDER
from tests.policy.testing.builders import suite as small
from tests.store.builders import event


def recorded(around: World, *, keyed: bool, policy: str) -> Recording:
    """What a record of this request would say."""
    decision = decide(around.policy, around.facts, around.availability)
    rows = around.policy.providers.values()
    return Recording(
        event="0193a1b2",
        policy=policy,
        facts=around.facts | {"session": around.facts["session"] | {"id": "s-1"}},
        decision=decision_json(decision),
        availability=around.availability,
        keyed=[row.name for row in rows if row.auth != "none"] if keyed else [],
        prices=around.policy.rates,
    )


@pytest.mark.parametrize("name", shipped_policies())
def test_what_was_decided_is_decided_again(name: str) -> None:
    """Each request of the shipped tests, written as if it had been recorded, is a test that passes.

    Of every other one it is not known which providers need a key, as when the policy is not kept any more.
    """
    tests, _ = load_suite(shipped_folder("policies") / f"{name}.test.yaml")
    assert tests is not None
    for number, scenario in enumerate(tests.scenarios):
        text = write_test(recorded(world(tests.policy, scenario.given), keyed=number % 2 == 0, policy=name))
        again, problems = read_suite(text.encode(), Path("recorded.test.yaml"))
        assert (scenario.name, problems) == (scenario.name, [])
        assert again is not None
        [outcome] = run_suite(again).outcomes
        assert (scenario.name, outcome.mismatches) == (scenario.name, ())


def test_only_what_matters_is_written() -> None:
    """Defaults, what follows from other facts, and the session's id are left out."""
    tests = small(
        "  - {name: it, given: {request: {effort: max}, keys: [alpha], text: urgent}, expect: {denied: false}}\n"
    )
    around = world(tests.policy, tests.scenarios[0].given)
    told = replace(recorded(around, keyed=True, policy="small.yaml"), prices={}, decided_by="small@12")
    assert write_test(told) == (FOLDER / "recorded.test.yaml").read_text("utf-8")


def keep(state: Path, around: World, **more: Any) -> Event:
    """The request in a ledger below `state`, with the policy that decided it."""
    decision = decide(around.policy, around.facts, around.availability)
    made = event(
        1,
        facts=around.facts,
        decision=decision_json(decision),
        availability=availability_json(around.availability),
        policy=around.policy.label,
        **more,
    )

    async def write() -> None:
        ledger = Ledger(state / "ledger.sqlite")
        ledger.start()
        await ledger.complete(made)
        ledger.close()

    asyncio.run(write())
    PolicyStore(state).save(around.policy)
    return made


def test_the_command_prints_a_test_that_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--from-record` prints a whole file; run beside its policy it holds, prices included."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_bytes((FOLDER / "small.yaml").read_bytes())
    given = (
        "{now: {hour: 23}, prices: {alpha/big: {input: 3, output: 9}, beta/little: {input: 5, output: 5}}, "
        "providers: {beta: {healthy: false, latency_p50_ms: 120}}}"
    )
    tests = small(f"  - {{name: it, given: {given}, expect: {{denied: false}}}}\n")
    made = keep(tmp_path / "state", world(tests.policy, tests.scenarios[0].given))
    told = CliRunner().invoke(cli, ["test", "--from-record", made.id, "--state-dir", "state"])
    assert (told.exit_code, told.stderr) == (0, "")
    assert "prices" in told.stdout
    (tmp_path / "small.test.yaml").write_text(told.stdout, "utf-8")
    ran = CliRunner().invoke(cli, ["test"])
    assert (ran.exit_code, ran.stdout) == (0, "small.test.yaml  1 passed\n")


def test_the_command_tells_when_the_policy_decides_otherwise_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test holds the old decision; what differs today is said beside it."""
    monkeypatch.chdir(tmp_path)
    text = (FOLDER / "small.yaml").read_text("utf-8")
    (tmp_path / "small.yaml").write_text(text.replace("class: cheap_edit, when: now", "class: fast_code, when: now"))
    tests = small("  - {name: it, given: {now: {hour: 23}}, expect: {denied: false}}\n")
    made = keep(tmp_path / "state", world(tests.policy, tests.scenarios[0].given))
    told = CliRunner().invoke(cli, ["test", "--from-record", made.id[:12], "--state-dir", "state"])
    assert told.exit_code == 0
    assert "class: cheap_edit" in told.stdout
    assert "note: the policy decides otherwise now: class is fast_code" in told.stderr


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    """No ledger, no such event, an event without a decision: one clear line, exit code 1."""
    run = CliRunner().invoke
    assert run(cli, ["test", "--from-record", "x", "--state-dir", str(tmp_path)]).exit_code == 1
    tests = small("  - {name: it, expect: {denied: false}}\n")
    keep(tmp_path, world(tests.policy, {}))
    missing = run(cli, ["test", "--from-record", "nothere", "--state-dir", str(tmp_path)])
    assert (missing.exit_code, "no event 'nothere'" in missing.stderr) == (1, True)
    both = run(cli, ["test", "default", "--from-record", "x", "--state-dir", str(tmp_path)])
    assert both.exit_code == 2
