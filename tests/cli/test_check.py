"""`sbgw check`: all mistakes in one run, in five formats, from files and from editors."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import orjson
import pytest
from click.testing import CliRunner, Result

from engine.cli import cli
from engine.policy.shipped import shipped_policies

GOLDEN = Path(__file__).resolve().parents[1] / "policy" / "golden"
FIVE = (GOLDEN / "five-at-once.yaml").read_bytes()
SOUND = "version: 1\nroutes: {fallback_safe: [requested]}\n"
WARNED = SOUND + "vars: {spare: request.stream}\n"


def check(*words: str, text: bytes | None = None) -> Result:
    result = CliRunner().invoke(cli, ["check", *words], input=text)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_bytes(FIVE)
    (tmp_path / "sound.yaml").write_text(SOUND)
    (tmp_path / "warned.yaml").write_text(WARNED)
    return tmp_path


def test_five_mistakes_of_five_kinds_in_one_run() -> None:
    """A misspelt field, a type error, a duplicate key, an unknown model, an exit that leads nowhere: place, caret, suggestion."""
    result = check("mine.yaml")
    assert result.exit_code == 1
    heads = [line for line in result.output.splitlines() if line.startswith("mine.yaml:")]
    assert heads == [
        "mine.yaml:6:30: warning[unknown-model]: 'anthropic/claude-opus-55' has no row of its own; did you mean 'claude-opus-5-5'?",
        "mine.yaml:8:53: error[cel-field]: no field 'tolls' in request; did you mean 'tools'?",
        "mine.yaml:9:44: error[cel-type]: cannot compare int and double",
        "mine.yaml:10:1: error[yaml-duplicate]: key 'settings' is given twice; the first is at line 4, column 1",
        "mine.yaml:14:28: error[graph-exit]: exit 'deny' leads to no step: 'encod'; did you mean 'encode'?",
    ]
    assert result.output.count("^") >= 5
    assert "hint: write double(estimate.input_tokens)" in result.output
    assert result.output.splitlines()[-1].startswith("4 errors, 1 warning in 1 file · `sbgw policy rules ")


@pytest.mark.parametrize("form", ["text", "json", "github", "sarif", "junit"])
@pytest.mark.parametrize(("level", "code"), [("error", 0), ("warning", 1), ("note", 1)])
def test_the_fail_level_decides_the_exit_code(form: str, level: str, code: int) -> None:
    """In every format; a warning fails only where it is asked to."""
    assert check("warned.yaml", "--format", form, "--fail-level", level).exit_code == code
    assert check("sound.yaml", "--format", form, "--fail-level", level).exit_code == 0
    assert check("mine.yaml", "--format", form, "--fail-level", level).exit_code == 1


def test_json_holds_files_and_problems_in_order() -> None:
    """Positions from 1, the end exclusive; the format has a version."""
    data = orjson.loads(check("sound.yaml", "mine.yaml", "--format", "json").stdout)
    assert (data["format_version"], data["files"]) == (1, ["sound.yaml", "mine.yaml"])
    assert [(p["rule"], p["line"], p["column"], p["endColumn"]) for p in data["problems"]] == [
        ("unknown-model", 6, 30, 54), ("cel-field", 8, 53, 58), ("cel-type", 9, 44, 65), ("yaml-duplicate", 10, 1, 9),
        ("graph-exit", 14, 28, 33),
    ]  # fmt: skip


def test_sarif_has_rules_results_and_regions() -> None:
    """Version 2.1.0: each result names its rule by id and index, and a file relative to the run's folder."""
    data = orjson.loads(check("mine.yaml", "--format", "sarif").stdout)
    assert (data["version"], data["$schema"]) == ("2.1.0", "https://json.schemastore.org/sarif-2.1.0.json")
    [run] = data["runs"]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in {"error", "warning", "note"}
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"] == {"uri": "mine.yaml", "uriBaseId": "ROOT"}
        assert place["region"]["startLine"] <= place["region"]["endLine"]
        assert place["region"]["snippet"]["text"]
    assert [r["ruleId"] for r in run["results"]] == [
        "unknown-model",
        "cel-field",
        "cel-type",
        "yaml-duplicate",
        "graph-exit",
    ]
    assert all(rule["help"]["text"] and rule["shortDescription"]["text"].endswith(".") for rule in rules)
    assert set(run["originalUriBaseIds"]) == {"ROOT"}


def test_sarif_names_files_as_uris(folder: Path) -> None:
    """A space is escaped, an absolute path is a file URI."""
    (folder / "my own.yaml").write_bytes(FIVE)
    for name, uri in (("my own.yaml", "my%20own.yaml"),):
        [run] = orjson.loads(check(name, "--format", "sarif").stdout)["runs"]
        assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri
    outside = GOLDEN / "schema-secrets.yaml"
    [run] = orjson.loads(check(str(outside), "--format", "sarif").stdout)["runs"]
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": outside.as_uri()}


def test_junit_has_a_suite_per_file_and_a_case_per_problem() -> None:
    """What does not fail the run passes; a file without a problem has a case too."""
    root = ET.fromstring(check("mine.yaml", "sound.yaml", "--format", "junit").stdout)
    assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuites", "6", "4")
    mine, sound = root
    assert [case.get("name") for case in sound] == ["no problems"]
    failed = [case for case in mine if case.find("failure") is not None]
    assert [case.get("line") for case in failed] == ["8", "9", "10", "14"]
    assert "^^^^^" in (failed[0][0].text or "")


def test_github_annotations_read_as_sentences() -> None:
    """One command per problem; nothing for a file without one."""
    lines = check("mine.yaml", "--format", "github").stdout.splitlines()
    assert len(lines) == 5
    assert lines[2] == (
        "::error file=mine.yaml,line=9,col=44,endLine=9,title=cel-type::cannot compare int and double. "
        "write double(estimate.input_tokens)"
    )
    assert check("sound.yaml", "--format", "github").stdout == ""


def test_editors_check_what_is_not_saved(folder: Path) -> None:
    """`extends` is relative to the name given, which need not exist; the text is what counts."""
    (folder / "base").mkdir()
    (folder / "base" / "ground.yaml").write_text(SOUND)
    text = b"version: 1\nextends: [./ground.yaml]\nclassify: [{id: a, class: fallback_safe, when: request.tolls > 0}]\n"
    result = check("--stdin", "--stdin-filename", "base/new.yaml", "--format", "json", text=text)
    [problem] = orjson.loads(result.stdout)["problems"]
    assert (problem["file"], problem["line"], problem["rule"]) == ("base/new.yaml", 3, "cel-field")
    assert check("--stdin", text=SOUND.encode()).stdout == "policy.yaml: no problems\n"
    assert check("--stdin", text=b"a: \xff").exit_code == 1


def test_files_of_tests_are_checked_too(folder: Path) -> None:
    """A misspelt name in a test is found where a policy's would be."""
    (folder / "sound.test.yaml").write_text("tests: [{name: a, expect: {clas: fallback_safe}}]\n")
    result = check("sound.test.yaml")
    assert result.exit_code == 1
    assert "sound.test.yaml:1:28: error[schema-unknown-key]: unknown key 'clas'; did you mean 'class'?" in result.output
    text = b"tests: [{name: a, expect: {class: fallback_safe}}]\n"
    assert check("--stdin", "--stdin-filename", "sound.test.yaml", text=text).exit_code == 0


def test_the_shipped_files_pass_whatever_they_are(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Policies, rows and tests, named by a pattern: no error and no warning."""
    monkeypatch.chdir(root)
    files = sorted(str(path) for path in Path("policies").glob("*.yaml"))
    assert len(files) > 2 * len(shipped_policies())
    result = check(*files, "--fail-level", "note")
    assert (result.exit_code, result.output.count("\n")) == (0, 1)


def test_a_table_of_secrets_is_checked_row_by_row(folder: Path) -> None:
    """Each row that can't be used, at its line."""
    (folder / "secrets.yaml").write_text(
        "- {id: one, keywords: [a], pattern: 'a(b'}\n- {id: two, keywords: [a], pattern: ab}\n- {id: three}\n- four\n"
    )
    told = check("secrets.yaml").output
    assert [line.split(":")[1] for line in told.splitlines() if "error[" in line] == ["1", "3", "4"]


def test_warnings_about_shipped_files_are_not_for_their_users(folder: Path) -> None:
    """Taking a rule out may leave a shipped variable unread; nobody can change that, so nobody is told."""
    (folder / "own.yaml").write_text("version: 1\nextends: [default]\nclassify: [{remove: [small-model, side-work]}]\n")
    assert check("own.yaml", "--fail-level", "note").output == "own.yaml: no problems\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nowhere.yaml"], 3),
        (["sound.yaml", "nowhere.yaml"], 3),
        (["--stdin", "sound.yaml"], 2),
        (["--stdin-filename", "x.yaml"], 2),
        (["--format", "xml"], 2),
        (["--fail-level", "all"], 2),
    ],
)
def test_what_cannot_run_has_its_own_code(words: list[str], code: int) -> None:
    """3 for a policy that is not there, 2 for a wrong command line; a missing parent is a problem of the policy, 1."""
    assert check(*words).exit_code == code


def test_a_missing_parent_is_a_mistake_of_the_policy(folder: Path) -> None:
    """The file itself could be read."""
    (folder / "own.yaml").write_text("version: 1\nextends: [nowhere]\n")
    assert check("own.yaml").exit_code == 1


def test_colours_are_for_terminals() -> None:
    """Piped output is plain; a terminal sees levels and carets marked."""
    coloured = CliRunner().invoke(cli, ["check", "mine.yaml"], color=True).output
    assert "\x1b[31m\x1b[1merror\x1b[0m[cel-field]" in coloured
    assert "\x1b" not in check("mine.yaml").output
