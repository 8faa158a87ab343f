"""The front end: places of nodes, limits, and what it leaves alone in the process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.policy import cel
from engine.policy.cel import nodes
from engine.policy.cel.nodes import walk


def kinds(source: str) -> list[str]:
    """The problem kinds of a source that must not parse."""
    with pytest.raises(cel.CelProblems) as raised:
        cel.parse(source)
    return [p.kind for p in raised.value.problems]


def test_every_node_knows_its_exact_place() -> None:
    """The slice of the source is the node's own text, also for true and false, which cel-python's parser misplaces."""
    source = ' a.b + 1 >= -2 && x in [true, "q"] || (c && !d) '
    found = [source[n.start : n.end] for n in walk(cel.parse(source).node)]
    assert found == [
        'a.b + 1 >= -2 && x in [true, "q"] || (c && !d)', 'a.b + 1 >= -2 && x in [true, "q"]', "a.b + 1 >= -2", "a.b + 1", "a.b", "a", "1",
        "-2", 'x in [true, "q"]', "x", '[true, "q"]', "true", '"q"', "c && !d", "c", "!d", "d",
    ]  # fmt: skip


def test_operators_know_their_place_after_comments_and_newlines() -> None:
    """The caret of a type error stands under the operator."""
    source = 'a // note\n  ==\n "x"'
    node = cel.parse(source).node
    assert isinstance(node, nodes.Binary)
    assert source[node.op_start : node.op_start + 2] == "=="


def test_chains_of_logic_are_one_node() -> None:
    """`a || b || c` has three operands; parentheses make their own."""
    node = cel.parse("a || b || (c || d) && e").node
    assert isinstance(node, nodes.Or)
    assert [type(o).__name__ for o in node.operands] == ["Name", "Name", "And"]


def test_length_is_limited_before_parsing() -> None:
    """4,001 characters are refused at once."""
    assert kinds("a" + " " * 4000) == ["cel-limit"]
    cel.parse("a" + " " * 3999)


def test_depth_is_limited_and_parentheses_are_free() -> None:
    """Forty levels of nodes; a thousand parentheses are none."""
    assert kinds("!" * 41 + "a") == ["cel-limit"]
    assert kinds("+".join(["a"] * 60)) == ["cel-limit"]
    cel.parse("(" * 1000 + "a" + ")" * 1000)
    cel.parse(" || ".join(["a"] * 400))


def test_the_number_of_parts_is_limited() -> None:
    """Five hundred nodes."""
    assert kinds("[" + ",".join(["1"] * 600) + "]") == ["cel-limit"]
    cel.parse("[" + ",".join(["1"] * 499) + "]")


def test_the_deepest_accepted_expressions_run_from_a_deep_stack(environment, facts) -> None:
    """Depth 40 compiled, traced and checked needs far less than the recursion limit leaves a web handler."""
    source = "!" * 38 + "b.yes"

    def deep(levels: int) -> object:
        if levels:
            return deep(levels - 1)
        checked = cel.check(cel.parse(source), environment)
        return checked.program().eval(facts), checked.trace(facts).value

    assert deep(300) == (True, True)


def test_the_recursion_limit_is_left_alone() -> None:
    """celpy.Environment would raise it; neither it nor any celpy module is imported."""
    code = (
        "import sys; before = sys.getrecursionlimit(); from engine.policy import cel; assert 'lark' not in sys.modules\n"
        "cel.parse('true'); assert before == sys.getrecursionlimit(); assert 'celpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_compiled_runner_is_nowhere(root) -> None:
    """Its answers are wrong under threads: the name may stand in prose only."""
    for path in (root / "engine").rglob("*.py"):
        lines = path.read_text("utf-8").splitlines()
        assert not [
            line
            for line in lines
            if "CompiledRunner" in line and ("import" in line or "(" in line.split("CompiledRunner")[1][:1])
        ]


def test_long_strings_keep_their_line_breaks(environment, facts) -> None:
    """cel-python drops them."""
    assert cel.check(cel.parse('"""a\nb"""'), environment, "any").program().eval(facts) == "a\nb"


def test_parsing_is_safe_under_threads() -> None:
    """Eight threads parse different sources and get their own trees."""
    wrong: list[str] = []

    def work(number: int) -> None:
        for turn in range(40):
            source = f"a{number} == {turn} && b{number}.c in [{number}]"
            names = {n.name for n in walk(cel.parse(source).node) if isinstance(n, nodes.Name)}
            if names != {f"a{number}", f"b{number}"}:
                wrong.append(source)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([*"ab.,()[]{}!=<>&|?:+-*/%\"'\\ \n09_r", "true", "in", " and ", "has(", "x.all(t,", "é"]),
        max_size=25,
    ).map("".join)
)
def test_any_text_is_parsed_or_refused_with_places(source: str) -> None:
    """Whatever stands in a policy: a tree, or problems inside the source with a message; never another exception."""
    try:
        cel.parse(source)
        found: tuple[cel.CelProblem, ...] = ()
    except cel.CelProblems as problems:
        found = problems.problems or pytest.fail("no problem in CelProblems")
    for problem in found:
        assert problem.message
        assert 0 <= problem.start <= problem.end <= len(source)


def test_hostile_text_is_refused_quickly() -> None:
    """Four thousand characters of anything take well under a second."""
    started = time.thread_time()
    for piece in ("(", "[", "!", "-", '"', "a.", "a?", "{", "a||", "1+", "a(", "//", "\\", '"""'):
        try:
            cel.parse((piece * 4000)[:4000])
        except cel.CelProblems:
            continue
    assert time.thread_time() - started < 10
