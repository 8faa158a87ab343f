"""`sbgw test`: which files it runs, what its exit codes say, and that it shows no text of a request."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.cli import cli
from engine.policy.shipped import shipped_policies
from tests.policy.testing.builders import FOLDER

PASSING = "policy: {}\ntests: [{{name: it holds, expect: {{denied: false}}}}]\n"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["test", *arguments])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def ran(result: Result) -> list[str]:
    """Files that were run, by their last names."""
    return [Path(line.split()[0]).name for line in result.stdout.splitlines() if line.endswith("passed")]


def test_an_empty_folder_runs_the_shipped_tests(here: Path) -> None:
    """Without tests of one's own, those of all shipped policies run, and pass."""
    result = invoke("--min-coverage", "100")
    assert result.exit_code == 0
    assert ran(result) == [f"{name}.test.yaml" for name in shipped_policies()]


def test_own_tests_run_instead(here: Path) -> None:
    """Those of the working directory and of its folder policies/, not what lies deeper."""
    for path in ("a.test.yaml", "policies/b.test.yml", "deep/er/c.test.yaml"):
        put(here / path, PASSING.format("default"))
    assert ran(invoke()) == ["a.test.yaml", "b.test.yml"]
    assert ran(invoke("deep")) == ["c.test.yaml"]
    assert ran(invoke(".", "a.test.yaml")) == ["a.test.yaml", "c.test.yaml", "b.test.yml"]


def test_a_policy_means_the_tests_beside_it(here: Path) -> None:
    """By its file, or by a shipped name; `policy:` may be left out there."""
    put(here / "mine.yaml", "version: 1\nname: mine\nextends: [default]\n")
    assert "has no tests" in invoke("mine.yaml").stderr
    put(here / "mine.test.yaml", "tests: [{name: it holds, expect: {denied: false}}]\n")
    assert ran(invoke("mine.yaml")) == ["mine.test.yaml"]
    assert ran(invoke("strict", "thrifty.yaml")) == ["strict.test.yaml", "thrifty.test.yaml"]


def test_exit_codes(here: Path) -> None:
    """0 all hold, 1 something does not or can't be run, 2 the command line is wrong, 3 a file can't be read."""
    put(here / "good.test.yaml", PASSING.format("default"))
    put(here / "bad.test.yaml", PASSING.format("default").replace("false", "true"))
    put(here / "wrong.test.yaml", "tests: []\n")
    put(here / "lost.test.yaml", PASSING.format("nowhere"))
    put(here / "broken.yaml", "version: 1\nclassify: [{id: x, class: fast_code, when: request.tolls > 0}]\n")
    put(here / "broken.test.yaml", PASSING.format("broken.yaml"))
    codes = {name: invoke(f"{name}.test.yaml").exit_code for name in ("good", "bad", "wrong", "lost", "broken")}
    assert codes == {"good": 0, "bad": 1, "wrong": 1, "lost": 1, "broken": 1}
    assert invoke("nofile").exit_code == 2
    assert invoke("good.test.yaml", "-k", "(").exit_code == 2
    assert invoke("good.test.yaml", "-k", "no such name").exit_code == 2
    assert invoke("good.test.yaml", "--min-coverage", "101").exit_code == 2
    assert invoke(str(here / "a-folder-that-is-not-there")).exit_code == 2


def test_nothing_runs_while_a_name_is_wrong(here: Path) -> None:
    """One file with an unknown name keeps all from running."""
    put(here / "good.test.yaml", PASSING.format("default"))
    put(here / "typo.test.yaml", "policy: default\ntests: [{name: it, expect: {class: fast_cod}}]\n")
    result = invoke()
    assert (result.exit_code, "passed" in result.output) == (1, False)
    assert "did you mean 'fast_code'?" in result.stdout


def test_a_policy_with_mistakes_shows_them(here: Path) -> None:
    """A policy that can't be loaded is told like `sbgw check` does, also from its stage graph."""
    put(here / "mine.yaml", "version: 1\nextends: [default]\nvars: {a: request.tolls}\n")
    put(here / "mine.test.yaml", "tests: [{name: it, expect: {denied: false}}]\n")
    assert "mine.yaml:3:" in invoke().stdout
    put(here / "mine.yaml", "version: 1\nextends: [default]\npipeline: [decode, encode, classify, record]\n")
    assert "graph-" in invoke().stdout


def test_the_pipeline_decides(here: Path) -> None:
    """A policy whose gate asks only some rules is tested by that gate."""
    put(
        here / "mine.yaml",
        "version: 1\nextends: [default]\n"
        "gate: {deny: [{id: stop, when: request.tools > 5}, {id: halt, when: request.tools > 1}]}\n"
        "pipeline: [decode, classify, {use: gate, with: {require: [], deny: [stop]}}, cache, dispatch, encode, record]\n",
    )
    put(
        here / "mine.test.yaml",
        "tests:\n"
        "  - {name: few, given: {request: {tools: 3}}, expect: {denied: false}}\n"
        "  - {name: many, given: {request: {tools: 9}}, expect: {denied: stop}}\n",
    )
    assert invoke().output == "mine.test.yaml  2 passed\n"


def test_k_selects_by_name() -> None:
    """A regular expression, upper and lower case the same, found anywhere in the name."""
    found = json.loads(invoke(str(FOLDER / "failing.test.yaml"), "-k", "REFUSED$|^words", "--format", "json").stdout)
    assert [test["name"] for test in found["files"][0]["tests"]] == ["it is refused", "words", "nothing is refused"]


def test_text_of_a_request_is_never_shown(here: Path) -> None:
    """The text of a failing test stands in no output, whatever the format."""
    put(
        here / "mine.test.yaml",
        "policy: default\n"
        "tests: [{name: it, given: {text: design CANARY-5511}, expect: {class: tool_heavy, signals: {design: false}}}]\n",
    )
    for form in ("text", "json", "junit"):
        result = invoke("--format", form, "--coverage")
        assert result.exit_code == 1
        assert "CANARY" not in result.output


def test_names_can_not_steer_the_terminal(here: Path) -> None:
    """Direction marks in a test's name are replaced; control characters are refused by the reader."""
    put(here / "mine.test.yaml", 'policy: default\ntests: [{name: "a\\u202eb\\u001b[2J", expect: {denied: true}}]\n')
    result = invoke()
    assert result.exit_code == 1
    assert re.search("[\u202e\x1b]", result.stdout) is None


def test_readme_shows_tests_that_hold(here: Path, root: Path) -> None:
    """The policy and the tests in README fit each other, and each rule of it is reached."""
    blocks = re.findall(r"```yaml\n(.*?)```", (root / "README.md").read_text("utf-8"), re.DOTALL)
    [policy] = [block for block in blocks if "\nname: mine\n" in block]
    [tests] = [block for block in blocks if "\ntests:\n" in block]
    put(here / "mine.yaml", policy)
    put(here / "mine.test.yaml", tests)
    result = invoke("--format", "json", "--coverage")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["failed"]) == (0, 0)
    assert [rule["id"] for rule in found["coverage"][0]["rules"] if not rule["reached"]] == []
