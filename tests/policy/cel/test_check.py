"""Planted mistakes: each is found at load, at its place, with words that help."""

from __future__ import annotations

import pytest

from engine.policy import cel
from engine.policy.cel.functions import FUNCTIONS
from engine.policy.cel.types import BOOL, DOUBLE, DYN, INT, STRING, Choices, list_of, map_of, struct

# «…» marks where the caret must stand.
MISTAKES = (
    # names
    ('reqest.model == "x"', '«reqest».model == "x"', "cel-unknown", "did you mean 'request'"),
    ('request.modle == "x"', 'request.«modle» == "x"', "cel-field", "did you mean 'model'"),
    ("vars.agnet || request.stream", "vars.«agnet» || request.stream", "cel-field", "did you mean 'agent'; have: agent, long"),
    ("input_tokens > 5", "«input_tokens» > 5", "cel-unknown", "did you mean 'estimate.input_tokens'"),
    ("request.input_tokens > 5", "request.«input_tokens» > 5", "cel-field", "did you mean 'estimate.input_tokens'"),
    ('request["modle"] == "x"', 'request[«"modle"»] == "x"', "cel-field", "did you mean 'model'"),
    ('request.tool_names.exists(t, tt == "x")', 'request.tool_names.exists(t, «tt» == "x")', "cel-unknown", "did you mean 't'"),
    ("request.tool_names.exists(t, t.x == 1)", "request.tool_names.exists(t, t.«x» == 1)", "cel-field", "t is string"),
    ('request.modelName == "x"', 'request.«modelName» == "x"', "cel-field", "no field 'modelName'"),
    ("request.model.length > 3", "request.model.«length» > 3", "cel-field", "write size(request.model)"),
    ('request.model.lower == "x"', 'request.model.«lower» == "x"', "cel-field", "lower is a function"),
    ("has(request.modle)", "has(request.«modle»)", "cel-field", "did you mean 'model'"),
    ("has(nope.model)", "has(«nope».model)", "cel-unknown", "no 'nope'"),
    ('default(request.modle, "") == ""', 'default(request.«modle», "") == ""', "cel-field", "did you mean 'model'"),
    ("size > 3", "«size» > 3", "cel-call", "write size(request.tool_names)"),
    # calls
    ('request.model.startswith("x")', 'request.model.«startswith»("x")', "cel-call", "did you mean 'startsWith'"),
    ('startsWith(request.model, "x")', '«startsWith»(request.model, "x")', "cel-call", 'write request.model.startsWith("x")'),
    ('request.model.contains("a", "b")', 'request.model.«contains»("a", "b")', "cel-call", "takes 1 argument, not 2"),
    ("len(request.model) > 1", "«len»(request.model) > 1", "cel-call", "did you mean 'size'"),
    ("request.model.int() > 1", "request.model.«int»() > 1", "cel-call", "write int(request.model)"),
    ("request.tool_names.any(t, true)", "request.tool_names.«any»(t, true)", "cel-call", "exists"),
    ("request.tool_names.exists(request, true)", "request.tool_names.exists(«request», true)", "cel-call", "a fact already"),
    ("max(request.tools) > 1", "«max»(request.tools) > 1", "cel-call", "two or more"),
    ("has(request)", "«has(request)»", "cel-call", "has() needs one field"),
    ('request.tool_names.map(t, t != "x", t).size() > 0', 'request.tool_names.«map(t, t != "x", t)».size() > 0', "cel-call", ".filter("),
    # types
    ("request.temperature > request.tools", "request.temperature > «request.tools»", "cel-type", "write double(request.tools)"),
    ("request.tools + request.temperature > 1.0", "«request.tools» + request.temperature > 1.0", "cel-type", "write double(request.tools)"),
    ("request.model == 1", "request.model «==» 1", "cel-type", "cannot compare string == int"),
    ("request.stream && request.tools", "request.stream && «request.tools»", "cel-type", "write request.tools != 0"),
    ("!request.model", "!«request.model»", "cel-type", 'write request.model != ""'),
    ("request.tools", "«request.tools»", "cel-type", "a condition must be true or false; this is int"),
    ("request.tool_names", "«request.tool_names»", "cel-type", "write size(request.tool_names) > 0"),
    ('request.tool_names.contains("x")', '«request.tool_names».contains("x")', "cel-type", 'write "x" in request.tool_names'),
    ('"x" in request.model', '«"x" in request.model»', "cel-type", 'write request.model.contains("x")'),
    ("1 < request.tools < 3", "1 < request.tools «<» 3", "cel-type", "low < x && x < high"),
    ('request.tools + "x" == "x"', 'request.tools «+» "x" == "x"', "cel-type", "write string(request.tools)"),
    ("request.model == null", "«request.model == null»", "cel-type", "never null"),
    ('request.protocol == "openai_chat"', 'request.protocol == «"openai_chat"»', "cel-type", "did you mean 'openai-chat'"),
    ('"anthropic" == request.protocol', '«"anthropic"» == request.protocol', "cel-type", "one of"),
    ('request.protocol in ["openai-chat", "x"]', 'request.protocol in ["openai-chat", «"x"»]', "cel-type", "never 'x'"),
    ("request.tools / 0 == 1 && 1 / 0 == 1", "request.tools / 0 == 1 && «1 / 0» == 1", "cel-type", "division by zero"),
    ('request.model.matches("(")', 'request.model.matches(«"("»)', "cel-regex", "missing )"),
    ('request.model.matches("(?<=a)b")', 'request.model.matches(«"(?<=a)b"»)', "cel-regex", "not a regular expression"),
    ('timestamp(now.unix).getHours("Berlin") > 8', 'timestamp(now.unix).getHours(«"Berlin"») > 8', "cel-type", "no time zone"),
    ('duration("soon") > duration("1h")', '«duration("soon")» > duration("1h")', "cel-type", "always fails"),
    # syntax
    ("request.stream and true", "request.stream «and» true", "cel-syntax", "write &&"),
    ("request.stream or true", "request.stream «or» true", "cel-syntax", "write ||"),
    ("not request.stream", "«not» request.stream", "cel-syntax", "write !"),
    ("request.tools = 0", "request.tools «=» 0", "cel-syntax", "write =="),
    ("request.tools === 0", "request.tools «===» 0", "cel-syntax", "write =="),
    ("request.tools !== 0", "request.tools «!==» 0", "cel-syntax", "write !="),
    ("request.tools <> 0", "request.tools «<>» 0", "cel-syntax", "write !="),
    ("request.stream == True", "request.stream == «True»", "cel-syntax", "write true"),
    ("request.model == None", "request.model == «None»", "cel-syntax", "write null"),
    ('"x" not in request.tool_names', '"x" «not» in request.tool_names', "cel-syntax", "write !(a in b)"),
    ("request.stream & true", "request.stream «&» true", "cel-syntax", "write &&"),
    ('request.model ?? "x"', 'request.model «??» "x"', "cel-syntax", "default(a.b, c)"),
    ("request.model == “x”", "request.model == «“»x”", "cel-syntax", 'plain "'),
    ('request.model contains "x"', 'request.model «contains» "x"', "cel-syntax", "request.model.contains"),
    ("request.tools > 10_000", "request.tools > «10_000»", "cel-syntax", "without _"),
    ("request.tools in [1, 2,]", "request.tools in [1, 2,«]»", "cel-syntax", "last comma"),
    ("(request.stream", "(request.strea«m»", "cel-syntax", "')' is missing"),
    ("request.model == 'x", "request.model == «'x»", "cel-syntax", "not closed"),
    ('request.model.matches("\\d")', 'request.model.matches("«\\d»")', "cel-syntax", 'r"'),
    ('request.tool_names[-1] == "x"', 'request.tool_names[«-1»] == "x"', "cel-syntax", "count from 0"),
    ("type(request.model) == string", "«type(request.model)» == string", "cel-call", "no function type()"),
    # limits
    ("request.tool_names.exists(t, losses.exists(u, u == t))", "request.tool_names.exists(t, losses.«exists(u, u == t)»)", "cel-limit", "inside another macro"),
)  # fmt: skip


@pytest.fixture(scope="module")
def types(root) -> cel.Struct:
    """The gateway's own facts, with two vars."""
    import orjson

    made = cel.environment_from_schema(orjson.loads((root / "schemas/facts.schema.json").read_bytes()))
    return made.with_field("vars", struct({"agent": BOOL, "long": BOOL}))


@pytest.mark.parametrize(("source", "marked", "kind", "words"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_planted_mistake_is_found_at_its_place(source, marked, kind, words, types) -> None:
    """Kind, span and the helpful words are as planted."""
    with pytest.raises(cel.CelProblems) as raised:
        cel.check(cel.parse(source), types)
    before, _, rest = marked.partition("«")
    inside, _, after = rest.partition("»")
    assert before + inside + after == source, "the row itself"
    found = [p for p in raised.value.problems if (p.start, p.end) == (len(before), len(before) + len(inside))]
    assert found, [(source[p.start : p.end], p.kind, p.message) for p in raised.value.problems]
    assert kind == found[0].kind
    told = f"{found[0].message}; {found[0].hint}".replace("?;", ";")
    assert words in told, told


def test_all_problems_are_told_at_once_in_order(types) -> None:
    """Three mistakes in one expression are three problems, sorted by place."""
    with pytest.raises(cel.CelProblems) as raised:
        cel.check(cel.parse("request.foo == 1 && reqest.bar == 2 || request.model.startswith('x')"), types)
    assert [p.kind for p in raised.value.problems] == ["cel-field", "cel-unknown", "cel-call"]


def test_one_mistake_is_told_once(types) -> None:
    """An unknown fact is dyn afterwards, so nothing around it complains."""
    with pytest.raises(cel.CelProblems) as raised:
        cel.check(cel.parse("(request.foo + 1) * 2 > 3.5 && request.foo.startsWith('x')"), types)
    assert {"cel-field"} == {p.kind for p in raised.value.problems}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=lambda f: f.name)
def test_every_function_s_example_checks_clean(function, types) -> None:
    """What hints and documentation show is itself right, and evaluates on default facts or fails for its value only."""
    cel.check(cel.parse(function.example), types, "any")
    assert f"`{function.name}`" in cel.PROFILE


@pytest.mark.parametrize(
    ("source", "refs"),
    [
        ("request.tools > 0 && request.tools < 3", {"request.tools"}),
        ('signals.design || signals["k"]', {"signals.design", "signals.k"}),
        ("request.tool_names.exists(t, t == request.model)", {"request.tool_names", "request.model"}),
        ("has(signals.design)", {"signals.design"}),
        ("signals[request.model]", {"signals", "request.model"}),
        ('"x" in losses', {"losses"}),
        ("true", set()),
        ("[1].exists(losses2, losses2 == request.tools)", {"request.tools"}),
    ],
)
def test_refs_are_the_facts_that_are_read(source, refs, types) -> None:
    """Dotted paths, as long as they are fixed; macro variables are not among them."""
    assert refs == cel.check(cel.parse(source), types).refs


def test_uses_tell_where(types) -> None:
    """Each use has its place, in source order, also when a fact is read twice."""
    source = "request.tools > 0 || request.tools < estimate.input_tokens"
    uses = cel.check(cel.parse(source), types).uses
    assert [source[u.start : u.end] for u in uses] == ["request.tools", "request.tools", "estimate.input_tokens"]


@pytest.mark.parametrize(
    ("source", "constant", "warned"),
    [
        ("true", True, []),
        ("1 < 2", True, ["1 < 2"]),
        ("request.stream || true", True, ["request.stream || true"]),
        ("request.stream && 1 > 2", False, ["request.stream && 1 > 2"]),
        ("request.stream || 1 > 2", None, ["1 > 2"]),
        ("request.stream || false", None, []),
        ("request.stream", None, []),
        ('"abc".contains("b")', True, ['"abc".contains("b")']),
        ('duration("1h") > duration("30m") && request.stream', None, ['duration("1h") > duration("30m")']),
    ],
)
def test_constant_conditions_are_told(source, constant, warned, types) -> None:
    """What is always true or false is known, and warned of unless it is a plain literal."""
    checked = cel.check(cel.parse(source), types)
    assert constant == checked.constant
    assert warned == [source[w.start : w.end] for w in checked.warnings]
    assert {"cond-constant"} >= {w.kind for w in checked.warnings}


@pytest.mark.parametrize(
    ("source", "expect", "fits"),
    [
        ("request.model", "string", True), ("request.model", "any", True), ("request.tools", "string", False),
        ("request.temperature", "double", True), ("1", "double", True), ("request.tools", "double", False), ("request.tools", "int", True),
        ("request.model", "bool", False), ("request.protocol", "string", True), ("losses", "any", True), ("losses", "string", False),
    ],
)  # fmt: skip
def test_the_result_must_be_what_the_place_needs(source, expect, fits, types) -> None:
    """`expect` is checked at load."""
    parsed = cel.parse(source)
    if fits:
        cel.check(parsed, types, expect)
    else:
        with pytest.raises(cel.CelProblems):
            cel.check(parsed, types, expect)


def test_a_result_of_unknown_type_is_checked_when_evaluated(environment, facts) -> None:
    """A condition over dyn facts that gives no bool is an ExprError, never a truthy value."""
    program = cel.check(cel.parse("v.s"), environment, "bool").program()
    with pytest.raises(cel.ExprError) as raised:
        program.eval(facts)
    assert (raised.value.kind, raised.value.span) == ("type", (0, 3))
    assert True is cel.check(cel.parse("v.t"), environment, "bool").program().eval(facts)


def test_a_schema_becomes_types() -> None:
    """Scalars, lists, maps, closed sets, references, recursion and the unknown."""
    made = cel.environment_from_schema(
        {
            "type": "object",
            "properties": {
                "i": {"type": "integer"}, "d": {"type": ["number", "null"]}, "s": {"type": "string"}, "e": {"enum": ["a", "b"]},
                "l": {"type": "array", "items": {"type": "boolean"}}, "u": {"type": "array"}, "x": {}, "y": {"type": ["string", "integer"]},
                "m": {"type": "object", "additionalProperties": {"type": "integer"}}, "o": {"type": "object"},
                "r": {"$ref": "#/$defs/node"}, "open": {"type": "object", "properties": {"k": {"type": "string"}}, "additionalProperties": True},
            },
            "$defs": {"node": {"type": "object", "properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/node"}}}},
        }
    )  # fmt: skip
    assert made.fields == {
        "i": INT, "d": DOUBLE, "s": STRING, "e": Choices("string", ("a", "b")), "l": list_of(BOOL), "u": list_of(DYN), "x": DYN,
        "y": DYN, "m": map_of(INT), "o": map_of(DYN), "r": struct({"name": STRING, "next": DYN}), "open": struct({"k": STRING}, DYN),
    }  # fmt: skip


@pytest.mark.parametrize(
    "schema", [{"type": "string"}, {}, {"type": "object", "properties": {"a": {"$ref": "#/$defs/no"}}}]
)
def test_a_schema_that_describes_no_facts_is_refused(schema) -> None:
    """ValueError, at load."""
    with pytest.raises(ValueError):
        cel.environment_from_schema(schema)
