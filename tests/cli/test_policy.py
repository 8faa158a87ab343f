"""`sbgw policy`: what it prints can be used again, and explains what it must."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from engine.cli import cli
from engine.policy import migrate
from engine.policy.cel import DEVIATIONS
from engine.policy.cel.functions import FUNCTIONS
from engine.policy.checks import CHECKS
from engine.policy.load import load_policy, load_text
from engine.policy.migrate import Formats
from engine.policy.schemas import NAMES, bundled
from engine.policy.shipped import find_shipped, shipped_policies

MINE = "version: 1\nname: mine\nextends: [default]   # mine\nsettings: {port: 9000}\n"
BROKEN = "version: 1\nextends: [default]\nnam: x\n"


def policy(*words: str) -> Result:
    result = CliRunner().invoke(cli, ["policy", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(MINE)
    (tmp_path / "broken.yaml").write_text(BROKEN)
    return tmp_path


@pytest.mark.parametrize("name", shipped_policies())
def test_a_policy_is_shown_as_it_is(name: str) -> None:
    """Word for word, comments included."""
    assert policy("show", name).stdout == find_shipped("policies", f"{name}.yaml").read_text("utf-8")


def test_a_resolved_policy_is_a_policy_that_decides_the_same() -> None:
    """It extends nothing and has the digest of the original."""
    shown = policy("show", "mine.yaml", "--resolved").stdout
    assert "extends" not in shown
    assert load_text(shown).label == load_policy("mine.yaml").label
    assert load_text(policy("show", "mine.yaml", "--rows").stdout).digest == load_policy("mine.yaml").digest


def test_origins_stand_behind_each_line() -> None:
    """What is my own, and what is inherited."""
    shown = policy("show", "mine.yaml", "--origin").stdout
    lines = {line.split("  #")[0].strip(): line.rpartition("# ")[2] for line in shown.splitlines() if "  # " in line}
    assert lines["port: 9000"] == "mine.yaml:4"
    assert lines["side_work: vars.agent && vars.plain"].endswith("default.yaml:33")
    assert load_text(shown).digest == load_policy("mine.yaml").digest


def test_a_broken_policy_is_shown_but_not_resolved() -> None:
    """To resolve it would be to guess; the problems are printed instead."""
    assert policy("show", "broken.yaml").stdout == BROKEN
    result = policy("show", "broken.yaml", "--resolved")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "unknown key 'nam'" in result.stderr
    assert policy("show", "nowhere").exit_code == 3


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_printed_whole(name: str) -> None:
    """JSON, with everything it refers to."""
    assert orjson.loads(policy("schema", name).stdout) == bundled(name)


def test_an_unknown_schema_is_one_line() -> None:
    """With the nearest name."""
    result = policy("schema", "fakts")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is no schema 'fakts'; did you mean 'facts'?" in result.stderr


def test_every_check_is_listed_and_explained() -> None:
    """The list has a line for each; each has a paragraph."""
    listed = policy("rules").stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(CHECKS)
    for name, check in CHECKS.items():
        shown = policy("rules", name).stdout
        assert shown.startswith(f"{name} (")
        assert " ".join(shown.split("\n\n", 1)[1].split()) == check.about


def test_several_checks_at_once_and_a_misspelt_one() -> None:
    """Each under its name; nothing for a list with a wrong one."""
    assert policy("rules", "cel-type", "graph-exit").stdout.count("\n\n") == 3
    result = policy("rules", "cel-type", "graph-exti")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "did you mean 'graph-exit'?" in result.stderr


def test_the_language_is_printed_with_every_function_and_deviation() -> None:
    """Nothing that can be called or differs is left out."""
    shown = policy("profile").stdout
    assert "profile sbgw-cel/1" in shown
    assert [name for name in FUNCTIONS if f"{name}(" not in shown] == []
    assert [name for name in DEVIATIONS if f"- {name}: " not in shown] == []
    assert max(map(len, shown.splitlines())) <= 130


def test_the_newest_format_needs_no_migration(folder: Path) -> None:
    """Said, with and without --write, and nothing is touched."""
    for words in ([], ["--write"]):
        result = policy("migrate", "mine.yaml", *words)
        assert (result.exit_code, result.output) == (0, "mine.yaml: nothing to do, it is of version 1, the newest\n")
    assert (folder / "mine.yaml").read_text() == MINE


def test_an_old_format_is_printed_new_and_written_on_request(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the steps there are; comments stay."""
    steps = {0: lambda old: {("extends" if key == "parents" else key): value for key, value in old.items()}}
    monkeypatch.setattr(migrate, "FORMATS", Formats(1, steps))
    monkeypatch.setattr(migrate.migrated_text, "__defaults__", (Formats(1, steps),))
    old = MINE.replace("version: 1", "version: 0").replace("extends", "parents")
    (folder / "old.yaml").write_text(old)
    assert policy("migrate", "old.yaml").stdout == MINE
    assert (folder / "old.yaml").read_text() == old
    assert policy("migrate", "old.yaml", "--write").output == "old.yaml: version 0 → 1\n"
    assert (folder / "old.yaml").read_text() == MINE


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: 7\n", "this file needs a newer sbgw"),
        ("version: 0\n", "is of version 0, which there is no way from; the newest is 1"),
        ("name: x\n", "has no `version`"),
        ("version: 1\nversion: 1\n", "key 'version' is given twice"),
        ("{", "YAML"),
    ],
)
def test_a_file_that_cannot_be_migrated_is_told_why(folder: Path, text: str, words: str) -> None:
    """Exit code 1, nothing on standard output, the file as it was."""
    (folder / "odd.yaml").write_text(text)
    result = policy("migrate", "odd.yaml", "--write")
    assert (result.exit_code, result.stdout) == (1, "")
    assert words in result.stderr
    assert (folder / "odd.yaml").read_text() == text


@pytest.mark.parametrize("name", ["show", "schema", "rules", "migrate", "profile"])
def test_every_command_has_help_with_an_example(name: str) -> None:
    """Short enough for the list of commands, and with an example to copy."""
    shown = policy(name, "--help").stdout
    assert f"sbgw policy {name}" in shown.partition("Example")[2]
    listed = policy("--help").stdout
    assert "..." not in listed.partition("Commands:")[2]
