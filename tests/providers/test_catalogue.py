"""The shipped rows: sound, sourced, and held against the price table, so that a change at a vendor shows up here."""

from __future__ import annotations

from datetime import UTC, date, datetime
from urllib.parse import urlsplit

import pytest

from engine.llm.catalogue import Model, Provider
from engine.policy.document import load_document
from engine.policy.load import load_policy
from engine.policy.model import CLASSES
from engine.policy.shape import check_shape
from engine.policy.shipped import find_shipped, shipped_folder
from engine.protocols.registry import PROTOCOLS
from engine.providers.prices import PriceTable

AS_OF = datetime(2026, 11, 23, 12, tzinfo=UTC)

POLICY = load_policy("default")
MODELS = list(POLICY.models.values())
PROVIDERS = list(POLICY.providers.values())

OTHER_CONTEXT = {
    "openai/gpt-5.5": "OpenAI's page says 1,050,000, the table rounds",
    "openai/gpt-5.5-pro": "OpenAI's page says 1,050,000, the table rounds",
    "openai/gpt-4.1": "OpenAI's page says 1,047,576, the table rounds",
    "openai/gpt-4.1-mini": "OpenAI's page says 1,047,576, the table rounds",
    "gemini/gemini-3.8-flash": "the API says 1,048,576, the table rounds",
    "gemini/gemini-3.5-flash": "the API says 1,048,576, the table rounds",
    "gemini/gemini-3.5-flash-lite": "the API says 1,048,576, the table rounds",
    "gemini/gemini-3.1-flash-lite": "the API says 1,048,576, the table rounds",
    "gemini/gemini-2.5-flash-lite": "the API says 1,048,576, the table rounds",
    "mistral/codestral-latest": "Mistral's page says 128,000 for the current one",
    "together/deepseek-ai/DeepSeek-V4.1-Flash": "Together serves 1,048,576, the table rounds",
}
"""Rows whose window differs from the price table's, and why."""

UNPRICED = {
    "nvidia": "no price table knows it",
    "ollama-cloud": "a subscription, not billed by the token",
    "mistral/devstral-latest": "the table has no such alias",
}
"""Providers and models without a price, and why."""


def context_of(provider: Provider, name: str) -> int | None:
    """The window that the price table states."""
    from genai_prices.data_snapshot import get_snapshot

    try:
        _, model = get_snapshot().find_provider_model(name, None, provider.price_id, None)
    except LookupError:
        return None
    return model.context_window


@pytest.mark.parametrize("kind", ["providers", "models"])
def test_shape(kind: str) -> None:
    """The rows keep to their schema; the gateway relies on that and does not check them at every start."""
    loaded = load_document(find_shipped("policies", f"{kind}.yaml").read_bytes(), kind)
    assert loaded.problems == []
    assert loaded.root is not None
    problems, _ = check_shape(loaded.root, f"{kind}.schema.json", shipped_folder("schemas"))
    assert problems == []


@pytest.mark.parametrize("kind", ["providers", "models"])
def test_every_claim_has_a_source_and_a_date(kind: str) -> None:
    """A row says where its claims come from and when they were checked; only the simulated provider makes none."""
    root = load_document(find_shipped("policies", f"{kind}.yaml").read_bytes(), kind).root
    assert root is not None
    rows = root.plain()[kind]
    for name, row in rows.items():
        if not name.startswith("simulated"):
            assert row["source"].startswith("https://"), name
            assert date.fromisoformat(row["as_of"]) <= date(2026, 11, 23), name


def test_contexts_agree_with_the_price_table() -> None:
    """A row's window is what the price table says, or stands on the list of exceptions with its reason."""
    differ = set()
    for model in MODELS:
        provider = POLICY.providers[model.provider]
        stated = context_of(provider, model.name) if provider.price_id else None
        if stated is not None and stated != model.context:
            differ.add(model.ref)
    assert differ == set(OTHER_CONTEXT)


def test_remote_models_have_prices() -> None:
    """Every remote model has a price, but for providers that have none."""
    table = PriceTable.load(MODELS, POLICY.providers, at=AS_OF)
    unpriced = {m.ref for m in MODELS if not m.local and not table.known(m.ref)}
    assert {ref if ref in UNPRICED else ref.partition("/")[0] for ref in unpriced} == set(UNPRICED)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.ref)
def test_a_model_row_makes_sense(model: Model) -> None:
    """What a row claims does not contradict itself."""
    assert 0 < model.max_output <= model.context
    assert set(model.classes) <= set(CLASSES)
    assert model.tools or (model.claude_code_safe == model.codex_safe == "no")
    assert set(model.protocols) <= set(POLICY.providers[model.provider].endpoints)
    assert not model.ends or date.fromisoformat(model.ends) > date(2026, 11, 23)
    assert model.quirks.thinking in ("", "none") or model.reasoning


def test_only_frontier_vendors_are_safe_unasked() -> None:
    """Out of the box an agent's loop depends on the two vendors' own models only, and on the simulated ones."""
    safe = {m.provider for m in MODELS if "yes" in (m.claude_code_safe, m.codex_safe)}
    assert safe == {"anthropic", "openai", "simulated"}


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda p: p.name)
def test_a_provider_row_makes_sense(provider: Provider) -> None:
    """Addresses are safe, protocols known, keys come from the environment, placeholders can be filled."""
    for protocol, address in provider.endpoints.items():
        url = urlsplit(address)
        assert protocol in PROTOCOLS
        assert url.scheme == "https" or provider.local or provider.simulated
        assert (url.hostname == "127.0.0.1") == provider.local
        assert {part.split("}")[0] for part in address.split("{")[1:]} == set(provider.url_env)
    assert bool(provider.api_key_env) == (provider.auth in ("bearer", "x-api-key"))


@pytest.mark.parametrize("provider", [p for p in PROVIDERS if p.name != "fireworks"], ids=lambda p: p.name)
def test_a_provider_has_a_model_for_each_class_it_names(provider: Provider) -> None:
    """At most one row of a provider speaks for a class, so that the choice does not hang on the rows' order."""
    named = [c for m in MODELS if m.provider == provider.name for c in m.classes]
    assert len(named) == len(set(named))


def test_login_rows_are_off() -> None:
    """The caller's credential is passed on only after a policy said so."""
    assert {p.name for p in PROVIDERS if not p.enabled} == {p.name for p in PROVIDERS if p.auth == "client"}


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        ("claude-opus-9", "anthropic/claude-opus-9"),
        ("gpt-6.9-sol", "openai/gpt-6.9-sol"),
        ("o3", "openai/o3"),
        ("gemini-5-neon", "gemini/gemini-5-neon"),
        ("devstral-9", "mistral/devstral-9"),
        ("@cf/new/model", "cloudflare/@cf/new/model"),
        ("ollama/llama9", "ollama/llama9"),
        ("groq/new/model", "groq/new/model"),
    ],
)
def test_names_find_their_provider(name: str, ref: str) -> None:
    """A vendor's name prefix, or a provider in front, says who serves a name without a row."""
    assert [m.ref for m in POLICY.catalogue.serving(name)] == [ref]


@pytest.mark.parametrize("name", ["gpt-oss-9", "llama9", "stackbilt-auto", "auto"])
def test_open_names_find_nobody(name: str) -> None:
    """A name that no vendor owns is not sent to a vendor by accident."""
    assert POLICY.catalogue.serving(name) == ()


def test_new_names_of_a_family_can_serve_agents() -> None:
    """A new Claude or GPT model is taken for what its family can do; any other new name for nothing."""
    assert POLICY.model("anthropic/claude-opus-9").claude_code_safe == "yes"
    assert POLICY.model("openai/gpt-6.9-sol").codex_safe == "yes"
    assert POLICY.model("ollama/llama9").claude_code_safe == "experimental"
    assert not POLICY.model("groq/new/model").tools
