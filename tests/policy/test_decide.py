"""What a decision promises: the order of resolution, who is a candidate, who drops out and why."""

from __future__ import annotations

import orjson
import pytest

from engine.llm.catalogue import Rate
from engine.policy.decide import ProviderState, begin, classify, decide, finish, gate, select_gate_rules
from tests.policy.policies import asked, dropped, policy, refs, request

CLASSES = """
classify:
  - {id: quiet, class: cheap_edit, when: request.tools == 0, mode: "off"}
  - {id: tried-out, class: long_context, when: request.tools > 0, mode: shadow}
  - {id: tools, class: fast_code, when: request.tools > 0}
  - {id: late-shadow, class: cheap_edit, when: request.stream, mode: shadow}
  - {id: streamed, class: cheap_edit, when: request.stream}
routes:
  fast_code: [alpha]
  cheap_edit: [alpha, beta, gamma]
  fallback_safe: [requested, alpha, beta]
"""


def test_first_class_rule_that_holds_decides() -> None:
    """Rules are asked in order; later ones and those that are off mean nothing."""
    decision = asked(policy(CLASSES), tools=1, stream=True)
    assert decision.route_class == "fast_code"
    assert decision.class_rule == "tools"
    assert decision.class_reason == "RULE_MATCH"


def test_no_class_rule_gives_fallback_safe() -> None:
    """What no rule knows is fallback_safe, for the reason DEFAULT."""
    decision = asked(policy(CLASSES))
    assert (decision.route_class, decision.class_rule, decision.class_reason) == ("fallback_safe", "", "DEFAULT")


def test_shadow_rules_are_recorded_and_not_obeyed() -> None:
    """Every shadow rule leaves its would-be outcome, those behind the rule that decides too."""
    hits = {hit.id: hit for hit in asked(policy(CLASSES), tools=1, stream=True).hits}
    assert hits["tried-out"].shadow
    assert hits["tried-out"].outcome == "true"
    assert hits["late-shadow"].detail == "an earlier rule decides"
    assert "streamed" not in hits
    quiet = {hit.id: hit.outcome for hit in asked(policy(CLASSES)).hits}
    assert quiet == {"tried-out": "false", "late-shadow": "false"}


def test_class_without_a_route_takes_the_default_one() -> None:
    """A class that has no route uses that of fallback_safe and keeps its name."""
    decision = asked(policy("classify: [{id: a, class: nightly, when: true}]"))
    assert decision.route_class == "nightly"
    assert refs(decision) == ["alpha/al-big", "beta/be-big"]


def test_provider_alone_means_the_requested_model_or_its_own_for_the_class() -> None:
    """alpha serves what was asked for; beta has a model for the class; gamma too; toy has none for this class."""
    compiled = policy("routes: {fallback_safe: [alpha], cheap_edit: [alpha, beta, gamma, toy]}\n"
                      "classify: [{id: a, class: cheap_edit, when: true}]")  # fmt: skip
    assert refs(asked(compiled, model="al-big")) == ["alpha/al-big", "beta/be-blind", "gamma/plain"]
    assert refs(asked(compiled, model="auto")) == ["alpha/al-small", "beta/be-blind", "gamma/plain"]


def test_requested_means_every_provider_that_serves_the_name() -> None:
    """Rows of that name first, in the providers' order, then name prefixes; an unknown name brings nobody in."""
    compiled = policy("routes: {fallback_safe: [requested]}")
    assert refs(asked(compiled, model="shared")) == ["beta/shared", "gamma/shared"]
    assert refs(asked(compiled, model="gamma/shared")) == ["gamma/shared"]
    assert refs(asked(compiled, model="al-new")) == ["alpha/al-new"]
    assert refs(asked(compiled, model="gamma/made-up")) == ["gamma/made-up"]
    assert asked(compiled, model="auto").candidates == ()
    assert asked(compiled, model="there").candidates == ()
    assert asked(compiled, model="").candidates == ()


def test_a_simulated_provider_is_used_only_where_a_route_names_it() -> None:
    """No name that a client can send leads to it."""
    compiled = policy("routes: {fallback_safe: [requested, pinned]}")
    assert asked(compiled, model="toy/one", pinned_model="toy/one").candidates == ()
    assert asked(compiled, model="one", pinned_model="one").candidates == ()
    assert refs(asked(policy("routes: {fallback_safe: [toy]}"), model="auto")) == ["toy/one"]


def test_a_model_stands_in_the_list_once() -> None:
    """Duplicates keep the first place."""
    compiled = policy("routes: {fallback_safe: [beta/be-big, alpha, requested, alpha/al-big, beta/be-big]}")
    assert refs(asked(compiled)) == ["beta/be-big", "alpha/al-big"]


def test_entries_may_have_conditions() -> None:
    """An entry whose condition does not hold brings nobody in; one that holds is told with its id."""
    compiled = policy("routes: {fallback_safe: [{use: beta/be-big, when: request.stream, id: streams}, alpha]}")
    assert refs(asked(compiled)) == ["alpha/al-big"]
    decision = asked(compiled, stream=True)
    assert refs(decision) == ["beta/be-big", "alpha/al-big"]
    assert decision.candidates[0].rule == "streams"
    assert ("route", "streams", "true") in [(hit.section, hit.id, hit.outcome) for hit in decision.hits]


def test_client_protocol_is_kept_where_it_is_offered() -> None:
    """Preserve when the provider speaks the client's protocol, else its first one."""
    compiled = policy("routes: {fallback_safe: [alpha/al-big, beta/be-big]}")
    kinds = {c.ref: (c.protocol, c.preserve) for c in asked(compiled).candidates}
    assert kinds == {"alpha/al-big": ("anthropic-messages", True), "beta/be-big": ("openai-responses", False)}
    kinds = {c.ref: (c.protocol, c.preserve) for c in asked(compiled, protocol="openai-chat").candidates}
    assert kinds == {"alpha/al-big": ("openai-chat", True), "beta/be-big": ("openai-chat", True)}


def test_tools_with_an_effort_go_to_another_endpoint_if_a_quirk_says_so() -> None:
    """beta refuses tools with an effort on Chat, and has Responses."""
    compiled = policy("routes: {fallback_safe: [beta/be-big]}")
    assert asked(compiled, protocol="openai-chat", tools=1).candidates[0].protocol == "openai-chat"
    chosen = asked(compiled, protocol="openai-chat", tools=1, effort="high").candidates[0]
    assert (chosen.protocol, chosen.preserve) == ("openai-responses", False)


def test_losses_follow_from_protocol_and_row() -> None:
    """What a protocol can't carry or a row can't do is lost in a translation; kept words lose nothing."""
    compiled = policy("routes: {fallback_safe: [alpha/al-big, beta/be-big, beta/be-blind]}\n"
                      "gate: {allow_losses: [image]}")  # fmt: skip
    losses = {c.ref: c.losses for c in asked(compiled, requires=["cache_control", "effort", "image"]).candidates}
    assert losses == {
        "alpha/al-big": (),
        "beta/be-big": ("cache_control",),
        "beta/be-blind": ("cache_control", "effort", "image"),
    }


def test_a_model_that_cannot_see_is_no_candidate_for_images() -> None:
    """A described row without vision loses an image even in the client's own protocol; that is a hard loss."""
    compiled = policy("routes: {fallback_safe: [alpha/al-new, beta/be-blind, beta/be-big]}")
    decision = asked(compiled, requires=["image"])
    assert dropped(decision) == {"alpha/al-new": "floor.losses", "beta/be-blind": "floor.losses"}
    assert refs(decision) == ["beta/be-big"]
    assert decision.candidates[0].detail == "image"


def test_hard_losses_drop_unless_the_policy_allows_the_code() -> None:
    """`allow_losses` names what may be lost; everything else that is hard still drops."""
    route = "routes: {fallback_safe: [beta/be-big]}\n"
    needs = ["server_tool", "background"]
    assert dropped(asked(policy(route), requires=needs)) == {"beta/be-big": "floor.losses"}
    assert dropped(asked(policy(route + "gate: {allow_losses: [server_tool]}"), requires=needs)) != {}
    allowed = policy(route + "gate: {allow_losses: [server_tool, background]}")
    assert refs(asked(allowed, requires=needs)) == ["beta/be-big"]


@pytest.mark.parametrize(
    ("client", "ref", "experimental", "passes"),
    [
        ("claude-code", "alpha/al-big", False, True),
        ("claude-code", "beta/be-big", False, False),
        ("claude-code", "beta/be-big", True, True),
        ("claude-code", "beta/shared", True, False),
        ("codex", "alpha/al-big", False, True),
        ("codex", "alpha/al-small", False, False),
        ("codex", "beta/be-big", False, True),
        ("opencode", "beta/shared", False, True),
        ("opencode", "gamma/plain", True, False),
    ],
)
def test_tools_reach_only_models_safe_for_the_client(
    client: str, ref: str, *, experimental: bool, passes: bool
) -> None:
    """The row must call tools and, for an agent we know, be marked safe; experimental needs the switch."""
    compiled = policy(f"routes: {{fallback_safe: [{ref}]}}\nsettings: {{experimental: {str(experimental).lower()}}}")
    decision = asked(compiled, tools=3, client__name=client)
    assert (refs(decision) == [ref]) is passes
    assert refs(asked(compiled, client__name=client)) == [ref]


def test_a_disabled_provider_is_shown_and_not_used() -> None:
    """Named in a route, it stands in the list as DISABLED."""
    decision = asked(policy("routes: {fallback_safe: [off/there, alpha]}"))
    assert refs(decision) == ["alpha/al-big"]
    assert (decision.candidates[0].dropped, decision.candidates[0].rule) == ("DISABLED", "floor.disabled")


def test_without_keys_the_refusal_names_the_variables() -> None:
    """A client reads what to set; other candidates are told with their reason."""
    compiled = policy("routes: {fallback_safe: [alpha, beta, gamma/plain]}")
    missing = {"alpha": ProviderState(key=False, missing=("ALPHA_KEY",)), "beta": ProviderState(key=False)}
    decision = decide(compiled, request(tools=1), missing)
    assert decision.denial is not None
    assert decision.denial.message == (
        "No key for a provider that could serve this request. Set one of: ALPHA_KEY (alpha), BETA_KEY (beta). "
        "The others: gamma/plain does not call tools."
    )
    assert (decision.denial.rule, decision.denial.status, decision.denial.reason) == ("", 403, "NO_KEY")
    assert {c.ref: c.dropped for c in decision.candidates} == {
        "alpha/al-big": "NO_KEY", "beta/be-big": "NO_KEY", "gamma/plain": "INCOMPATIBLE",
    }  # fmt: skip


def test_without_any_candidate_the_refusal_says_so() -> None:
    """An unknown name on a route of `requested` alone is refused with words."""
    denial = asked(policy("routes: {fallback_safe: [requested]}"), model="auto").denial
    assert denial is not None
    assert (
        denial.message
        == "No model can serve this request: the route for fallback_safe names none that is there for it."
    )


GATES = """
routes: {fallback_safe: [alpha/al-big, alpha/al-small, beta/be-big, gamma/plain]}
gate:
  require:
    - {id: fits, require: estimate.input_tokens + estimate.output_tokens <= model.context}
    - {id: cheap, require: "model.input_usd < 2.0", when: "request.effort == 'low'"}
    - {id: roomy, require: model.context > 300000, mode: shadow}
  deny:
    - {id: too-much, when: budget.day_usd > 5.0, status: 429, message: "${budget.day_usd} of 5 USD are spent today"}
    - {id: tried-out, when: request.stream, mode: shadow}
    - {id: local-only, when: request.secrets > 0 && !model.local, message: "${request.secrets} secrets: not ${model.ref}"}
"""


def test_require_rules_drop_with_their_id() -> None:
    """The first rule that is false is the reason; `when` says for whom a rule counts."""
    decision = asked(policy(GATES), estimate__input_tokens=100_000, estimate__output_tokens=8_000)
    assert dropped(decision) == {"gamma/plain": "fits"}
    assert decision.candidates[3].dropped == "INCOMPATIBLE"
    decision = asked(policy(GATES), effort="low")
    assert dropped(decision) == {"alpha/al-big": "cheap"}


def test_shadow_require_rules_tell_whom_they_would_drop() -> None:
    """One hit per rule, with the candidates it would have dropped."""
    hit = next(hit for hit in asked(policy(GATES)).hits if hit.id == "roomy")
    assert (hit.outcome, hit.shadow) == ("false", True)
    assert hit.detail == "alpha/al-big, alpha/al-small, gamma/plain"


def test_deny_rules_answer_with_status_and_message() -> None:
    """The first that holds refuses; `${}` is filled in from the facts."""
    decision = asked(policy(GATES), budget__day_usd=7.25, stream=True)
    assert decision.denial is not None
    assert (decision.denial.rule, decision.denial.status) == ("too-much", 429)
    assert decision.denial.message == "7.25 of 5 USD are spent today"
    assert decision.candidates == ()


def test_shadow_deny_rules_refuse_nobody() -> None:
    """They are recorded."""
    decision = asked(policy(GATES), stream=True)
    assert decision.denial is None
    assert [(hit.id, hit.outcome) for hit in decision.hits if hit.section == "deny"] == [("tried-out", "true")]


def test_deny_rules_about_candidates_refuse_at_the_first_and_drop_later_ones() -> None:
    """True for the candidate that would be tried first: refused. True for a later one: that one drops out."""
    refused = asked(policy(GATES), secrets=2)
    assert refused.denial is not None
    assert refused.denial.message == "2 secrets: not alpha/al-big"
    local_first = policy(
        GATES.replace("[alpha/al-big, alpha/al-small, beta/be-big, gamma/plain]", "[gamma/plain, alpha]")
    )
    decision = decide(local_first, request(secrets=2, estimate__output_tokens=10), {})
    assert decision.denial is None
    assert refs(decision) == ["gamma/plain"]
    assert dropped(decision) == {"alpha/al-big": "local-only"}


def test_unhealthy_candidates_are_tried_last() -> None:
    """They step behind the healthy ones and stay in the chain."""
    decision = decide(policy(), request(), {"alpha": ProviderState(healthy=False)})
    assert refs(decision) == ["beta/be-big", "alpha/al-big"]
    assert decision.candidates[1].detail == "cooling down; tried last"


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (ProviderState(healthy=False, state="degraded"), "cooling down"),
        (ProviderState(healthy=False, state="open"), "failing"),
        (ProviderState(healthy=False, state="recovering"), "recovering, with as many attempts as it may have"),
        (ProviderState(limited=True), "at its limit"),
    ],
)
def test_why_one_steps_back_is_told(state: ProviderState, why: str) -> None:
    """Of one model at a provider as of the provider; a limit steps back like a failure."""
    decision = decide(policy(), request(), {"alpha/al-big": state})
    assert refs(decision) == ["beta/be-big", "alpha/al-big"]
    assert decision.candidates[1].detail == f"{why}; tried last"


def test_routes_may_be_ordered_by_a_number() -> None:
    """The smallest first; a number that can't be had goes last; health still counts more."""
    compiled = policy("routes: {fallback_safe: {use: [alpha/al-big, alpha/al-small, gamma/shared],"
                      " order: 'model.price_known ? model.input_usd : 100.0'}}")  # fmt: skip
    assert refs(asked(compiled)) == ["alpha/al-small", "alpha/al-big", "gamma/shared"]
    unhealthy = {"alpha": ProviderState(healthy=False)}
    assert refs(decide(compiled, request(), unhealthy)) == ["gamma/shared", "alpha/al-small", "alpha/al-big"]


OVERRIDES = """
classify: [{id: all, class: cheap_edit, when: true}]
routes: {fallback_safe: [alpha], cheap_edit: [beta/be-blind], fast_code: [beta/be-big]}
overrides:
  - {id: shadowed, when: true, use: [gamma/plain], mode: shadow}
  - {id: pin-model, when: request.pinned_model != "", use: [pinned]}
  - {id: pin-class, when: request.pinned_class != "", class: pinned}
  - {id: project, when: client.project == "x", class: fast_code, use: [alpha/al-small]}
"""


def test_overrides_come_before_class_rules() -> None:
    """A pinned model replaces the route, a pinned class the class rules; unknown classes count for nothing."""
    compiled = policy(OVERRIDES)
    pinned = asked(compiled, pinned_model="beta/be-big")
    assert (refs(pinned), pinned.route_class, pinned.candidates[0].rule) == (["beta/be-big"], "cheap_edit", "pin-model")
    classed = asked(compiled, pinned_class="fast_code")
    assert (classed.route_class, classed.class_rule, classed.class_reason) == ("fast_code", "pin-class", "OVERRIDE")
    assert refs(classed) == ["beta/be-big"]
    assert asked(compiled, pinned_class="no_such").route_class == "cheap_edit"
    both = asked(compiled, client__project="x")
    assert (refs(both), both.route_class, both.class_rule) == (["alpha/al-small"], "fast_code", "project")


def test_headers_mean_nothing_without_an_override_rule() -> None:
    """x-sbgw-model alone changes no decision."""
    assert asked(policy(), pinned_model="beta/be-blind", pinned_class="cheap_edit") == asked(policy())


def test_the_floor_holds_for_overrides_too() -> None:
    """A pinned model that is not safe for the agent is not used."""
    decision = asked(policy(OVERRIDES), pinned_model="gamma/plain", tools=1)
    assert dropped(decision) == {"gamma/plain": "floor.tools"}
    assert decision.denial is not None


ERRORS = """
vars: {broken: "request.tools / request.turns > 0"}
"""


@pytest.mark.parametrize(
    ("on_error", "expected"), [("next", ("fallback_safe", None)), ("class", ("fast_code", None)), ("deny", (None, "a"))]
)
def test_class_rules_without_a_value_do_what_on_error_says(on_error: str, expected: tuple[object, object]) -> None:
    """next: the next rule; class: as if it held; deny: the request is refused with the rule's id."""
    compiled = policy(f"classify: [{{id: a, class: fast_code, when: 1 / request.turns > 0, on_error: {on_error}}}]")
    decision = asked(compiled, turns=0)
    assert [hit.outcome for hit in decision.hits if hit.id == "a"] == ["error"]
    if expected[1]:
        assert decision.denial is not None
        assert (decision.denial.rule, decision.denial.reason) == ("a", "RULE_ERROR")
        assert decision.candidates == ()
    else:
        assert (decision.route_class, decision.denial) == expected


def test_gate_rules_without_a_value_are_on_the_safe_side() -> None:
    """A require rule drops and a deny rule refuses, unless on_error is next."""
    broken = "1 / request.turns > 0"
    decision = asked(policy(f"gate: {{require: [{{id: a, require: {broken}}}]}}"), turns=0)
    assert {c.dropped for c in decision.candidates} == {"RULE_ERROR"}
    assert refs(asked(policy(f"gate: {{require: [{{id: a, require: {broken}, on_error: next}}]}}"), turns=0))
    denied = asked(policy(f"gate: {{deny: [{{id: a, when: {broken}}}]}}"), turns=0)
    assert denied.denial is not None
    assert denied.denial.reason == "RULE_ERROR"
    assert asked(policy(f"gate: {{deny: [{{id: a, when: {broken}, on_error: next}}]}}"), turns=0).denial is None


def test_a_variable_without_a_value_is_told() -> None:
    """Its failure is recorded, and rules that read it have no value either."""
    decision = asked(policy(ERRORS + "classify: [{id: a, class: fast_code, when: vars.broken}]"), turns=0)
    assert [(hit.section, hit.id, hit.outcome) for hit in decision.hits] == [
        ("var", "broken", "error"), ("classify", "a", "error"),
    ]  # fmt: skip


def test_variables_build_on_each_other_and_are_recorded() -> None:
    """Each sees those above it."""
    compiled = policy("vars: {few: request.tools < 3, plain: vars.few && !request.stream, limit: 5}")
    assert asked(compiled, tools=2).vars == {"few": True, "plain": True, "limit": 5}


def test_messages_that_fail_show_a_question_mark() -> None:
    """A refusal is never without its text."""
    compiled = policy(
        'gate: {deny: [{id: a, when: true, message: "quota ${1 / request.turns} of ${request.tool_names}"}]}'
    )
    denial = asked(compiled, turns=0, tool_names=["Bash", "Read"]).denial
    assert denial is not None
    assert denial.message == "quota ? of Bash, Read"


def test_several_gates_share_the_rules_out() -> None:
    """Each asks the rules it names, of the candidates that are left; unknown names are refused when built."""
    compiled = policy(GATES)
    first = select_gate_rules(compiled, {"require": ["fits"]})
    late = select_gate_rules(compiled, {"require": ["cheap"], "deny": ["local-only"]})
    case = begin(compiled, request(effort="low", estimate__output_tokens=8_000, budget__day_usd=9.0), {})
    classify(case)
    assert gate(case, first) is None
    assert dropped(finish(case)) == {"gamma/plain": "fits"}
    assert gate(case, late) is None
    assert dropped(finish(case)) == {"gamma/plain": "fits", "alpha/al-big": "cheap"}
    with pytest.raises(ValueError, match="no require rule 'fit'"):
        select_gate_rules(compiled, {"require": ["fit"]})
    with pytest.raises(ValueError, match="not 'rules'"):
        select_gate_rules(compiled, {"rules": []})
    with pytest.raises(ValueError, match="must be a list"):
        select_gate_rules(compiled, {"deny": "too-much"})


def test_deciding_changes_neither_facts_nor_answers() -> None:
    """The same question gets the same answer, and the facts stay as they were."""
    compiled = policy(GATES)
    facts = request(secrets=1, effort="low", requires=["cache_control"])
    before = orjson.dumps(facts)
    first = decide(compiled, facts, {})
    assert orjson.dumps(facts) == before
    assert decide(compiled, facts, {}) == first
    assert decide(policy.__wrapped__(GATES), facts, {}) == first


def test_recorded_facts_of_another_policy_are_brought_up_to_date() -> None:
    """Switches, variables and whether a model is known are this policy's own."""
    compiled = policy("vars: {known: request.model_known}\nsettings: {experimental: true}")
    facts = request(model="al-big", model_known=False, settings__experimental=False)
    facts["vars"] = {"other": 1}
    case = begin(compiled, facts, {})
    assert case.facts["vars"] == {"known": True}
    assert case.facts["settings"] == {"experimental": True}
    assert facts["vars"] == {"other": 1}


def test_prices_may_come_from_a_table() -> None:
    """`priced` fills what rows do not say; a row's own price wins."""
    compiled = policy("routes: {fallback_safe: [alpha/al-big, beta/be-big]}\n"
                      "gate: {require: [{id: low, require: 'estimate.cost_usd < 0.5'}]}")  # fmt: skip
    sizes = {"estimate__input_tokens": 100_000, "estimate__output_tokens": 10_000}
    assert refs(asked(compiled, **sizes)) == ["alpha/al-big", "beta/be-big"]
    priced = compiled.priced({"alpha/al-big": Rate.of(1000.0, 1000.0), "beta/be-big": Rate.of(5.0, 1.0)})
    assert dropped(asked(priced, **sizes)) == {"beta/be-big": "low"}
    assert priced.label == compiled.label


def test_provider_state_survives_being_recorded() -> None:
    """Availability is data."""
    state = ProviderState(
        key=False, missing=("A_KEY",), healthy=False, latency_p50_ms=12.5, state="open", limited=True, error_rate=0.25
    )
    assert ProviderState.from_json(orjson.loads(orjson.dumps(state.to_json()))) == state
    assert ProviderState.from_json({}) == ProviderState()


def test_what_is_remembered_is_bounded() -> None:
    """Clients choose names; ten thousand of them do not stay."""
    compiled = policy("routes: {fallback_safe: [requested, alpha]}")
    for number in range(5000):
        asked(compiled, model=f"al-{number}")
    assert len(compiled.resolver._found) <= 1024
    assert len(compiled.catalogue._found) <= 2048
    assert len(compiled.catalogue._made) <= 2048
