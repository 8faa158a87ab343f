"""Rows of providers and models as the rest of the gateway reads them, and what names stand for."""

from __future__ import annotations

from functools import lru_cache

from engine.policy.load import load_text
from engine.policy.model import Policy
from tests.policy.policies import policy


@lru_cache(maxsize=1)
def delta() -> Policy:
    """A policy with rows that say everything a row can say."""
    return load_text(
        """
version: 1
routes: {fallback_safe: [requested]}
providers:
  delta:
    protocol: openai-chat
    base_url: "http://127.0.0.1:6/{account}/v1/"
    api_key_env: DELTA_KEY
    local: true
    quirks: {drop: [seed, user], headers: {x-a: "1"}, efforts: [low, high]}
    url_env: {account: DELTA_ACCOUNT}
    timeouts: {idle: 30}
  bare: {protocols: {openai-responses: "https://127.0.0.1:7"}}
models:
  delta/org/name@v1: {claude_code_safe: experimental, codex_safe: true, local: false, classes: [fast_code],
    quirks: {headers: {x-b: "2"}, strict: true}, price: {input: 1.5}, source: here, as_of: 2026-01-01, ends: 2027-01-01}
  delta/plain: {}
"""
    )


def test_a_provider_in_short_form() -> None:
    """One protocol, one address without the closing slash, one variable; numbers are seconds."""
    provider = delta().providers["delta"]
    assert provider.endpoints == {"openai-chat": "http://127.0.0.1:6/{account}/v1"}
    assert provider.api_key_env == ("DELTA_KEY",)
    assert provider.quirks.drop == ("seed", "user")
    assert provider.url_env == {"account": "DELTA_ACCOUNT"}
    assert (provider.timeouts.idle, provider.timeouts.total) == (30.0, 900.0)
    assert provider.local


def test_a_provider_that_says_little_has_the_defaults() -> None:
    """Bearer, no key, not local, nothing served under other names."""
    provider = delta().providers["bare"]
    assert (provider.auth, provider.api_key_env, provider.local, provider.wildcard) == ("bearer", (), False, False)
    assert (provider.match, provider.enabled, provider.simulated) == ((), True, False)


def test_a_model_has_its_own_quirks_over_those_of_its_provider() -> None:
    """Field by field, headers put together; the words for safety are yes, no, experimental."""
    model = delta().models["delta/org/name@v1"]
    assert (model.provider, model.name, model.ref) == ("delta", "org/name@v1", "delta/org/name@v1")
    assert (model.claude_code_safe, model.codex_safe) == ("experimental", "yes")
    assert model.quirks.headers == {"x-a": "1", "x-b": "2"}
    assert (model.quirks.strict, model.quirks.efforts, model.quirks.drop) == (True, ("low", "high"), ("seed", "user"))
    assert (model.classes, model.local, model.price, model.ends) == (
        ("fast_code",),
        False,
        {"input": 1.5},
        "2027-01-01",
    )


def test_a_model_that_says_little_claims_little() -> None:
    """No tools, not safe, a small window; as local as its provider."""
    model = delta().models["delta/plain"]
    assert (model.tools, model.vision, model.context, model.claude_code_safe) == (False, False, 8192, "no")
    assert (model.streaming, model.local, model.known) == (True, True, True)
    assert model.quirks is delta().providers["delta"].quirks


def test_families_describe_names_without_a_row() -> None:
    """`alpha/al-*` is no model itself; a new name gets its row, a wildcard's name one that claims nothing."""
    rows = policy()
    assert "alpha/al-*" not in rows.models
    new = rows.model("alpha/al-new")
    assert (new.ref, new.tools, new.context, new.known) == ("alpha/al-new", True, 100_000, True)
    unheard = rows.model("gamma/unheard-of")
    assert (unheard.tools, unheard.context, unheard.known, unheard.local) == (False, 8192, False, True)


def test_a_name_is_known_if_somebody_serves_it() -> None:
    """By row, prefix, or a provider's wildcard where the provider is named; not by a disabled or simulated provider."""
    rows = policy()
    assert [name for name in ("al-big", "al-new", "shared", "gamma/x", "beta/be-big") if not rows.knows(name)] == []
    assert [
        name for name in ("auto", "", "there", "off/there", "one", "toy/one", "beta/x", "x" * 300) if rows.knows(name)
    ] == []
