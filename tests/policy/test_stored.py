"""Policies kept as one document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.llm.catalogue import Rate
from engine.policy.load import load_policy, load_text
from engine.policy.model import Policy
from engine.policy.shipped import shipped_policies
from engine.policy.stored import StoredPolicyInvalid, policy_of, stored_json
from engine.store.policies import PolicyStore


def places(policy: Policy) -> Iterator[Any]:
    """Everything of a policy that has a place, with its place."""
    for rule in (*policy.overrides, *policy.classify, *policy.require, *policy.deny):
        yield rule.id, rule.span, rule.shadow, rule.on_error
    for route in policy.routes.values():
        yield from ((route.name, entry.use, entry.span) for entry in route.entries)


def again(policy: Policy) -> Policy:
    return policy_of(orjson.loads(orjson.dumps(stored_json(policy))))


@pytest.mark.parametrize("name", shipped_policies())
def test_comes_back_the_same(name: str) -> None:
    """What a stored policy says is the same to the last bit, and its rules know where they stood."""
    policy = load_policy(name)
    found = again(policy)
    assert (found.label, found.settings, found.fallback) == (policy.label, policy.settings, policy.fallback)
    assert list(places(found)) == list(places(policy))


def test_odd_values_come_back() -> None:
    """Numbers that stand for expressions, texts in several lines and rules put before others survive."""
    text = """
version: 1
extends: [default]
vars: {limit: 5, share: 0.5, on: true}
classify:
  - id: e-1
    before: coding
    class: fast_code
    when: |
      vars.limit > 3
        && vars.share < 1.0 && request.model == "é😀"
pipeline: [decode, classify, {id: g, use: gate, when: vars.on}, dispatch, encode, record]
"""
    policy = load_text(text, file="mine.yaml")
    found = again(policy)
    assert (found.digest, list(places(found))) == (policy.digest, list(places(policy)))
    assert [step.id for step in found.steps] == ["decode", "classify", "g", "dispatch", "encode", "record"]


def test_rates_come_back() -> None:
    """Prices that were known when it was stored are known again."""
    policy = load_policy("default").priced({"groq/x": Rate.of(0.1, 0.5, 0.01, 0.2)})
    assert again(policy).rates == policy.rates


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 9},
        {"digest": "0" * 64},
        {"places": 3},
        {"policy": {"classify": [{"id": "x", "when": "nope"}]}},
    ],
)
def test_damage_is_told(change: dict[str, Any]) -> None:
    """A document that was changed, cut or written by another version is refused."""
    with pytest.raises(StoredPolicyInvalid):
        policy_of(stored_json(load_policy("default")) | change)


def test_store_keeps_and_finds(tmp_path: Path) -> None:
    """A kept policy is found by its label, also by another process; its file is the owner's alone."""
    policy = load_policy("strict")
    PolicyStore(tmp_path).save(policy)
    found = PolicyStore(tmp_path).load(policy.label)
    (file,) = (tmp_path / "policies").iterdir()
    assert found is not None
    assert (found.digest, file.name, file.stat().st_mode & 0o077) == (policy.digest, f"{policy.digest[:12]}.json", 0)


@pytest.mark.parametrize("label", ["x@000000000000", "", "x@../../etc", "x@abc"])
def test_store_does_not_find_others(tmp_path: Path, label: str) -> None:
    """What was never kept is None, whatever the label says."""
    assert PolicyStore(tmp_path).load(label) is None


def test_store_forgets_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the oldest file goes, leaving nothing half-written behind."""
    monkeypatch.setattr("engine.store.policies.KEPT", 2)
    store = PolicyStore(tmp_path)
    for name in ("default", "strict", "thrifty"):
        store.save(load_policy(name))
    assert len(list((tmp_path / "policies").iterdir())) == 2


def test_store_tells_damage(tmp_path: Path) -> None:
    """A file cut off in the middle is told as damaged."""
    policy = load_policy("default")
    PolicyStore(tmp_path).save(policy)
    path = tmp_path / "policies" / f"{policy.digest[:12]}.json"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(StoredPolicyInvalid):
        PolicyStore(tmp_path).load(policy.label)
