"""The shipped policies: sound, and what they decide, over tables of facts and over every captured request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.policy.clients import AGENTS, identify
from engine.policy.decide import ProviderState, decide
from engine.policy.decision import Decision
from engine.policy.facts import FactContext, build, complete, schema, validate
from engine.policy.load import check_policy, load_policy
from engine.policy.model import CLASSES, Policy
from engine.policy.shipped import shipped_policies
from engine.protocols.registry import PROTOCOLS
from engine.providers.prices import PriceTable

NAMES = ("default", "local", "offline", "strict", "thrifty")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

OPUS, SONNET, HAIKU = (f"anthropic/claude-{name}-5-5" for name in ("opus", "sonnet", "haiku"))
SOL = "openai/gpt-6.1-sol"


@lru_cache
def policy(name: str) -> Policy:
    loaded = load_policy(name)
    return loaded.priced(PriceTable.load(loaded.models.values(), loaded.providers, at=NOW).rates(at=NOW))


def decided(
    name: str, request: Mapping[str, Any], *, client: str = "claude-code", keys: set[str] | None = None, **sections: Any
) -> Decision:
    """What the policy decides about a request of a client; `keys` are the providers with a key, all if None."""
    rules = policy(name)
    asked = {"protocol": "anthropic-messages", "model": "claude-opus-5-5"} | dict(request)
    tokens = sections.pop("tokens", 5000)
    sections = {"estimate": {"input_tokens": tokens, "output_tokens": 8192}} | sections
    facts = complete({"request": asked, "client": {"name": client}} | sections, schema())
    facts["signals"] = dict.fromkeys(rules.signals, False) | facts["signals"]
    states = {
        p: ProviderState(key=keys is None or p in keys or row.auth == "none") for p, row in rules.providers.items()
    }
    return decide(rules, facts, states)


def chain(decision: Decision) -> list[str]:
    return [candidate.ref for candidate in decision.chain]


AGENT = {"tools": 12}
MID_WORK = AGENT | {"turns": 3, "tool_calls": 4, "tool_results": 1, "last_role": "tool"}
TITLE = {"purpose": "title", "output_format": "json_schema"}


@pytest.mark.parametrize("name", NAMES)
def test_is_sound(name: str) -> None:
    """A shipped policy has no problem of any level, lints included."""
    assert [(p.rule, p.message) for p in check_policy(name)] == []


def test_all_are_tested() -> None:
    """Every shipped policy is among those tested here."""
    assert shipped_policies() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_has_a_route_for_every_class(name: str) -> None:
    """No class is left to chance, and each policy says what it is for."""
    rules = policy(name)
    assert set(rules.routes) == set(CLASSES)
    assert rules.resolved.sources[-1].text.startswith("# yaml-language-server: $schema=../schemas/policy.schema.json\n")
    assert "\ndescription: " in rules.resolved.sources[-1].text


@pytest.mark.parametrize(
    ("request_", "sections", "expected"),
    [
        (TITLE, {}, ("cheap_edit", "title")),
        ({"purpose": "auxiliary"}, {}, ("cheap_edit", "auxiliary")),
        ({"purpose": "auxiliary", "server_tools": 1}, {}, ("fallback_safe", "")),
        ({}, {}, ("cheap_edit", "side-work")),
        ({"server_tools": 1}, {}, ("fallback_safe", "")),
        ({"images": 1}, {}, ("fallback_safe", "")),
        ({}, {"tokens": 20_000}, ("fallback_safe", "")),
        ({"model": "claude-haiku-5-5", "turns": 2}, {}, ("cheap_edit", "small-model")),
        ({"model": "claude-haiku-5-5"} | AGENT, {}, ("fast_code", "coding")),
        ({"compaction": True} | AGENT, {}, ("fallback_safe", "compaction")),
        ({"compaction": True}, {"tokens": 150_000}, ("fallback_safe", "compaction")),
        (AGENT, {}, ("fast_code", "coding")),
        (AGENT | {"effort": "medium"}, {}, ("fast_code", "coding")),
        (AGENT | {"effort": "high"}, {}, ("fast_code", "coding")),
        (AGENT | {"thinking": True, "thinking_budget": 31_999}, {}, ("fast_code", "coding")),
        (AGENT | {"effort": "xhigh"}, {}, ("deep_reasoning", "deep-effort")),
        (MID_WORK | {"effort": "max"}, {}, ("deep_reasoning", "deep-effort")),
        (AGENT | {"effort": "high"}, {"client": "codex"}, ("deep_reasoning", "deep-effort-asked")),
        ({"thinking_budget": 20_000}, {"client": "unknown"}, ("deep_reasoning", "deep-effort-asked")),
        (AGENT, {"signals": {"design": True}}, ("deep_reasoning", "deep-words")),
        (AGENT, {"signals": {"debugging": True}}, ("deep_reasoning", "deep-words")),
        (MID_WORK, {"signals": {"design": True}}, ("tool_heavy", "tools-in-play")),
        (MID_WORK, {}, ("tool_heavy", "tools-in-play")),
        (AGENT | {"tool_calls": 9, "turns": 9}, {}, ("tool_heavy", "tools-in-play")),
        (MID_WORK, {"tokens": 121_000}, ("long_context", "long-context")),
        ({}, {"client": "unknown", "tokens": 900}, ("cheap_edit", "small-question")),
        ({}, {"client": "unknown", "tokens": 900, "signals": {"design": True}}, ("deep_reasoning", "deep-words")),
        ({"effort": "medium"}, {"client": "unknown", "tokens": 900}, ("fallback_safe", "")),
        ({}, {"client": "unknown", "tokens": 3000}, ("fallback_safe", "")),
        ({"model": "o4-mini"}, {"client": "unknown", "tokens": 3000}, ("cheap_edit", "small-model")),
        ({"model": "gemini-3.8-flash"}, {"client": "unknown", "tokens": 3000}, ("fallback_safe", "")),
    ],
)
def test_classes(request_: dict[str, Any], sections: dict[str, Any], expected: tuple[str, str]) -> None:
    """Which class a kind of request belongs to, and by which rule."""
    found = decided("default", request_, **sections)
    assert (found.route_class, found.class_rule) == expected


@pytest.mark.parametrize("request_", [AGENT, MID_WORK, AGENT | {"effort": "max"}, {"compaction": True, "turns": 4}])
@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-haiku-4-5", "claude-next-9", "gpt-6-sol"])
def test_default_keeps_main_work_on_the_requested_model(request_: dict[str, Any], model: str) -> None:
    """Main work goes where it was sent, whatever keys there are; names that are newer than our rows too."""
    vendor = "anthropic" if model.startswith("claude-") else "openai"
    assert chain(decided("default", request_ | {"model": model}))[0] == f"{vendor}/{model}"


def test_default_falls_back_to_the_other_vendor() -> None:
    """When the requested model's vendor fails, the other one's model for the class is next."""
    assert chain(decided("default", MID_WORK)) == [OPUS, SOL]
    assert chain(decided("default", MID_WORK | {"model": "gpt-6-sol"})) == ["openai/gpt-6-sol", SONNET]


def test_default_sends_side_work_to_cheaper_hosts() -> None:
    """A title goes to the cheap hosts that have a key, then to the requested model."""
    cheap = ["cloudflare/@cf/openai/gpt-oss-20b", "groq/openai/gpt-oss-20b", "cerebras/gpt-oss-120b"]
    assert chain(decided("default", TITLE)) == [*cheap, OPUS, "openai/gpt-6-luna"]
    assert chain(decided("default", TITLE, keys={"groq", "anthropic"})) == [cheap[1], OPUS]
    assert chain(decided("default", TITLE, keys={"anthropic"})) == [OPUS]


@pytest.mark.parametrize("client", sorted(AGENTS))
def test_agents_of_the_policy_are_those_of_the_facts(client: str) -> None:
    """Every client that is known to offer tools with its main work has side work in the policy."""
    assert decided("default", {}, client=client).vars["side_work"] is True


def test_default_leaves_programs_alone() -> None:
    """A small question of an unknown program stays on the model it asked for: only agents have side work."""
    assert chain(decided("default", {}, client="openai-sdk", tokens=500))[0] == OPUS


def test_default_answers_a_name_that_nobody_serves() -> None:
    """A made-up model name, as in `model = "stackbilt-auto"`, gets a model of the class."""
    assert chain(decided("default", MID_WORK | {"model": "stackbilt-auto"}, client="codex")) == [SONNET, SOL]


def test_default_needs_experiments_to_be_allowed() -> None:
    """With keys for open models alone, an agent is refused rather than risked."""
    found = decided("default", MID_WORK, keys={"groq", "cerebras"})
    assert found.chosen is None
    assert found.denial is not None
    dropped = {c.ref: c.rule for c in found.candidates}
    assert dropped["groq/openai/gpt-oss-120b"] == "floor.client-safe"


def test_other_clients_get_the_open_model_they_ask_for() -> None:
    """A client without a safety column may ask for an open model; it is not chosen for it."""
    asked = MID_WORK | {"model": "groq/openai/gpt-oss-120b", "protocol": "openai-chat"}
    assert chain(decided("default", asked, client="opencode", keys={"groq"})) == ["groq/openai/gpt-oss-120b"]
    other = decided("default", MID_WORK | {"protocol": "openai-chat"}, client="opencode", keys={"groq"})
    assert {c.ref: c.rule for c in other.candidates}["groq/openai/gpt-oss-120b"] == "agent-safe"


def test_default_fits_the_window_but_for_the_requested_model() -> None:
    """A fallback must hold the prompt; the requested model's own refusal makes an agent compact."""
    found = decided("default", MID_WORK | {"model": "claude-haiku-4-5"}, tokens=1_045_000)
    assert chain(found) == ["anthropic/claude-haiku-4-5"]
    assert {c.ref: c.rule for c in found.candidates}[SOL] == "fits"


def test_default_keeps_to_a_schema() -> None:
    """Who asks for a schema gets a model that keeps to it; a title does not need to."""
    asked = {"output_format": "json_schema", "requires": ["output_format"], "purpose": "auxiliary"}
    assert chain(decided("default", asked)) == [OPUS, "openai/gpt-6-luna"]


def test_headers_pin_model_and_class() -> None:
    """The caller may pin a model or a class; what no policy can take away still holds."""
    assert chain(decided("default", AGENT | {"pinned_model": "openai/gpt-6-sol"})) == ["openai/gpt-6-sol"]
    assert decided("default", AGENT | {"pinned_class": "deep_reasoning"}).route_class == "deep_reasoning"
    assert chain(decided("default", AGENT | {"pinned_model": "groq/openai/gpt-oss-120b"})) == []


def test_strict_takes_frontier_vendors_only() -> None:
    """Nothing but the two vendors, whatever is asked, pinned or cheap."""
    for asked in (
        {},
        TITLE,
        AGENT,
        MID_WORK,
        {"pinned_model": "groq/openai/gpt-oss-120b"},
        {"model": "deepseek-flash"},
    ):
        assert {c.provider for c in decided("strict", asked).chain} <= {"anthropic", "openai"}
    assert chain(decided("strict", TITLE))[0] == OPUS


def test_strict_takes_no_experiments() -> None:
    """A small model that is only experimental does not serve an agent, even if asked for."""
    assert "openai/gpt-6-luna" not in chain(decided("strict", AGENT | {"model": "gpt-6-luna"}, client="opencode"))


@pytest.mark.parametrize(
    ("request_", "sections", "rule"),
    [
        ({"secrets": 2}, {}, "no-secrets-out"),
        ({}, {"budget": {"day_usd": 100.0}}, "day-is-spent"),
        (MID_WORK | {"model": "claude-fable-5-1"}, {"tokens": 900_000}, "large-request"),
    ],
)
def test_strict_stops_at_the_door(request_: dict[str, Any], sections: dict[str, Any], rule: str) -> None:
    """Secrets, a spent day and one very dear request are refused, with a message that says what and how much."""
    found = decided("strict", request_, **sections)
    assert found.denial is not None
    assert found.denial.rule == rule
    assert "${" not in found.denial.message


def test_thrifty_starts_coding_on_fast_hosts() -> None:
    """An ordinary coding request begins on an open model, with the requested one behind it."""
    found = chain(decided("thrifty", AGENT))
    assert found[:4] == [
        "groq/openai/gpt-oss-120b", "cerebras/gpt-oss-120b", "cloudflare/@cf/openai/gpt-oss-120b", OPUS
    ]  # fmt: skip


@pytest.mark.parametrize("request_", [MID_WORK, AGENT | {"effort": "max"}, {"compaction": True, "turns": 4}])
def test_thrifty_keeps_hard_work_on_the_requested_model(request_: dict[str, Any]) -> None:
    """Tools in play, depth and compaction are not where money is saved."""
    assert chain(decided("thrifty", request_))[0] == OPUS


def test_thrifty_saves_on_small_questions_of_anyone() -> None:
    """A small question goes to a cheap host, whoever asks; a small model's coding stays with it."""
    assert chain(decided("thrifty", {}, client="unknown", tokens=500))[0].startswith("cloudflare/")
    assert chain(decided("thrifty", AGENT | {"model": "claude-haiku-5-5"}))[0] == HAIKU


def test_thrifty_gives_up_when_tools_keep_failing() -> None:
    """After two turns of failing tools a session is no ordinary one."""
    assert decided("thrifty", AGENT, session={"tool_errors": 2}).class_rule == "stumbling"


@pytest.mark.parametrize("request_", [{}, TITLE, AGENT, MID_WORK, {"pinned_model": "openai/gpt-6-sol"}])
def test_local_stays_at_home(request_: dict[str, Any]) -> None:
    """No candidate of the local policy is outside the house."""
    rows = policy("local").providers
    assert all(rows[c.provider].local for c in decided("local", request_).chain)


def test_local_tries_every_server() -> None:
    """All four kinds of server are tried, within the attempts the policy allows."""
    found = decided("local", MID_WORK)
    assert [c.provider for c in found.chain] == ["ollama", "lmstudio", "vllm", "llamacpp"]
    assert policy("local").fallback.attempts >= 4
    assert chain(decided("local", MID_WORK | {"model": "ollama/mine:7b"}))[0] == "ollama/mine:7b"


def test_local_never_cuts_a_prompt() -> None:
    """A prompt that is longer than a server's window does not go there."""
    assert chain(decided("local", MID_WORK, tokens=60_000)) == ["vllm/default"]


def test_offline_needs_nothing() -> None:
    """Everything is answered by the simulated provider, with a failure to show a fallback."""
    assert chain(decided("offline", TITLE, keys=set())) == ["simulated/small", "simulated/large"]
    assert chain(decided("offline", AGENT, keys=set())) == ["simulated/flaky", "simulated/large"]
    assert chain(decided("offline", MID_WORK, keys=set())) == ["simulated/large"]
    assert chain(decided("offline", {"pinned_model": SOL})) == []


@pytest.mark.parametrize("name", ["default", "strict", "thrifty", "local"])
def test_simulated_answers_are_never_chosen_elsewhere(name: str) -> None:
    """Only the policy that names the simulated provider uses it, even for a client that asks for it."""
    for asked in ({}, AGENT, {"model": "simulated/large"}, {"pinned_model": "simulated/large"}):
        assert all(c.provider != "simulated" for c in decided(name, asked).candidates)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=60)
@given(
    request_=st.fixed_dictionaries(
        {
            "model": st.sampled_from(
                ["claude-opus-5-5", "gpt-6-luna", "groq/openai/gpt-oss-120b", "ollama/x", "gpt-oss-120b", "x", ""]
            ),
            "protocol": st.sampled_from(sorted(PROTOCOLS)),
            "tools": st.integers(1, 3),
            "tool_calls": st.integers(0, 3),
            "pinned_model": st.sampled_from(["", "groq/openai/gpt-oss-20b", "cerebras/gpt-oss-120b"]),
            "pinned_class": st.sampled_from(["", *CLASSES]),
            "effort": st.sampled_from(["", "low", "max"]),
        }
    ),
    client=st.sampled_from(["claude-code", "codex"]),
    tokens=st.integers(1, 300_000),
)
def test_agents_with_tools_reach_safe_models_only(
    name: str, request_: dict[str, Any], client: str, tokens: int
) -> None:
    """Whatever is asked, an agent's tools go to a model that calls tools and is marked safe for that agent."""
    rules = policy(name)
    allowed = {"yes", "experimental"} if rules.settings.experimental else {"yes"}
    for candidate in decided(name, request_, client=client, tokens=tokens).chain:
        model = rules.model(candidate.ref)
        assert model.tools
        assert (model.claude_code_safe if client == "claude-code" else model.codex_safe) in allowed


CALLS = {"/messages": "anthropic-messages", "/chat/completions": "openai-chat", "/responses": "openai-responses"}


def captured(shared: Path, pattern: str = "*/*/*.json") -> Iterator[tuple[str, dict[str, Any], str]]:
    """(name, exchange, protocol) of every captured model call."""
    for path in sorted((shared / "captures").glob(pattern)):
        exchange = json.loads(path.read_bytes())
        protocol = next((p for end, p in CALLS.items() if exchange["path"].endswith(end)), "")
        if protocol and exchange["method"] == "POST" and isinstance(exchange["body"], dict):
            exchange["headers"] = {name.lower(): value for name, value in dict(exchange["headers"]).items()}
            yield str(path.relative_to(shared / "captures")), exchange, protocol


def facts_of(exchange: dict[str, Any], protocol: str, rules: Policy) -> dict[str, Any]:
    survey = PROTOCOLS[protocol].survey(exchange["body"])
    identity = identify(exchange["headers"])
    session = identity.session or survey.session
    context = FactContext(protocol, identity, session, None, session or "x", exchange["body_bytes"], NOW)
    return build(survey, context, rules)


def test_every_captured_request_has_sound_facts(shared: Path) -> None:
    """The facts of all captured requests satisfy their schema."""
    wrong = [
        (name, found)
        for name, exchange, protocol in captured(shared)
        if (found := validate(facts_of(exchange, protocol, policy("default"))))
    ]
    assert wrong == []


def test_every_captured_agent_request_is_served(shared: Path) -> None:
    """With all keys there, the default policy finds a model for every captured request."""
    unserved = [
        name
        for name, exchange, protocol in captured(shared)
        if decide(policy("default"), facts_of(exchange, protocol, policy("default")), {}).chosen is None
    ]
    assert unserved == []


def test_captured_main_work_stays(shared: Path) -> None:
    """Every captured request of Claude Code and Codex with tools and a known model stays on that model."""
    moved = []
    for name, exchange, protocol in captured(shared):
        rules = policy("default")
        facts = facts_of(exchange, protocol, rules)
        if (
            facts["client"]["name"] in ("claude-code", "codex")
            and facts["request"]["tools"]
            and facts["request"]["model_known"]
        ):
            chosen = decide(rules, facts, {}).chosen
            if chosen is None or chosen.model != facts["request"]["model"] or not chosen.preserve:
                moved.append(name)
    assert moved == []


def test_captured_titles_are_side_work(shared: Path) -> None:
    """The title calls of Claude Code, Codex and opencode are cheap edits."""
    classes = {
        name: decide(policy("default"), facts_of(exchange, protocol, policy("default")), {}).route_class
        for name, exchange, protocol in captured(shared)
        if name in ("claude/interactive/001.json", "claude/interactive2/002.json", "codex/interactive/001.json",
                    "opencode/compat-dropbefore/000.json", "opencode/anthropic-dropbefore/000.json")
    }  # fmt: skip
    assert len(classes) == 5
    assert set(classes.values()) == {"cheap_edit"}


def test_captured_compactions_are_main_work(shared: Path) -> None:
    """Codex's compaction calls are no side work."""
    names = ("codex/interactive/003.json", "codex/y-autocompact-custom/001.json", "codex/y-autocompact-openai/002.json")
    for name, exchange, protocol in captured(shared, "codex/*/*.json"):
        if name in names:
            found = decide(policy("default"), facts_of(exchange, protocol, policy("default")), {})
            assert (found.route_class, found.class_rule) == ("fallback_safe", "compaction"), name


def test_captured_web_searches_keep_their_tool(shared: Path) -> None:
    """Claude Code's web search call carries no tools of the client, and still is no side work."""
    for name, exchange, protocol in captured(shared, "claude/z-websearch/*.json"):
        facts = facts_of(exchange, protocol, policy("default"))
        if facts["request"]["server_tools"] and not facts["request"]["tools"]:
            chosen = decide(policy("default"), facts, {}).chosen
            assert chosen is not None, name
            assert chosen.ref == OPUS
