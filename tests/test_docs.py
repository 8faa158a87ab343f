"""README, help and examples say what is true: commands, paths, policies and configuration are checked against the code."""

from __future__ import annotations

import re
from pathlib import Path

import click
import orjson
import pytest
from click.testing import CliRunner

from engine.cli import COMMANDS, cli
from engine.cli.clients import CLIENTS, configuration
from engine.llm.losses import LOSSES
from engine.policy.load import load_text
from tests import losses_table

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*.md"))]


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("command", list(cli.list_commands(None)))  # type: ignore[arg-type]
def test_every_command_is_documented_and_has_help(command: str) -> None:
    """README names each command; its help has an example."""
    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0
    assert f"`sbgw {command}`" in README


def test_help_tells_of_each_command_what_it_tells_itself() -> None:
    """The list that `sbgw --help` reads without importing any command says the same as the commands."""
    context = click.Context(cli)
    own = {name: cli.get_command(context, name).get_short_help_str(1_000) for name in cli.list_commands(context)}
    assert {name: line for name, (_, line) in COMMANDS.items()} == own


def test_every_documented_command_exists() -> None:
    """Each `sbgw WORD` in the documents is a command."""
    known = set(cli.list_commands(None)) | {"--help", "CLIENT"}  # type: ignore[arg-type]
    for path in DOCUMENTS:
        for word in re.findall(r"\bsbgw ([a-z][a-z-]+)", path.read_text("utf-8")):
            assert word in known, f"{path.name}: sbgw {word}"


@pytest.mark.parametrize("flag", re.findall(r"`(--[a-z-]+)", README))
def test_documented_flags_exist(flag: str) -> None:
    """Each flag that README names belongs to a command."""
    helps = "".join(CliRunner().invoke(cli, [c, "--help"]).output for c in cli.list_commands(None))  # type: ignore[arg-type]
    assert flag in helps


def test_ci_runs_the_documented_commands() -> None:
    """.ci/run contains README's two commands word for word."""
    script = (ROOT / ".ci/run").read_text("utf-8")
    commands = [c.strip() for c in fenced(README, "sh")[:2]]
    assert [c for c in commands if c not in script] == []


@pytest.mark.parametrize(("name", "document"), [("claude-code", "claude-code.md"), ("codex", "codex.md")])
def test_examples_hold_what_setup_prints(name: str, document: str) -> None:
    """An example's configuration block is the template's, word for word."""
    text = configuration(name, url="http://localhost:8787", key='"$(sbgw key)"')
    assert text in (ROOT / "examples" / document).read_text("utf-8")


def test_readme_shows_the_real_configuration() -> None:
    """The lines in README that connect agents are those of the templates."""
    claude = configuration("claude-code", url="http://localhost:8787", key='"$(sbgw key)"').split("\n\n")[0]
    codex = configuration("codex", url="http://localhost:8787", key='"$(sbgw key)"').split("\n\n")[0].partition("\n")[2]
    assert claude in README
    assert codex in README


@pytest.mark.parametrize("client", CLIENTS)
def test_setup_prints_something_for_every_client(client: str) -> None:
    """Every listed client has a template that names the gateway."""
    result = CliRunner().invoke(cli, ["setup", client, "--url", "http://localhost:9999"])
    assert (result.exit_code, "localhost:9999" in result.output) == (0, True)


def test_documented_policies_are_valid(tmp_path: Path) -> None:
    """Every whole policy shown in a document passes `sbgw check` without an error."""
    shown = [
        (path.name, block)
        for path in DOCUMENTS
        for block in fenced(path.read_text("utf-8"), "yaml")
        if "version: 1" in block
    ]
    for number, (name, block) in enumerate(shown):
        file = tmp_path / f"shown-{number}.yaml"
        file.write_text(block, "utf-8")
        result = CliRunner().invoke(cli, ["check", str(file)])
        assert result.exit_code == 0, f"{name}: {result.output}"
    assert shown != []


def test_the_example_of_a_hedged_route_keeps_its_promises(tmp_path: Path) -> None:
    """Its policy passes its own tests, and has no warning."""
    shown, tests = fenced((ROOT / "examples/slow-providers.md").read_text("utf-8"), "yaml")
    (tmp_path / "impatient.yaml").write_text(shown, "utf-8")
    (tmp_path / "impatient.test.yaml").write_text(tests, "utf-8")
    result = CliRunner().invoke(cli, ["test", str(tmp_path / "impatient.yaml")])
    assert result.exit_code == 0, result.output
    assert "warning" not in CliRunner().invoke(cli, ["check", str(tmp_path / "impatient.yaml")]).output


def test_endpoints_in_readme_exist() -> None:
    """Every path in README's table is a route of the server."""
    source = (ROOT / "engine/server.py").read_text("utf-8")
    table = README.partition("## Endpoints")[2].partition("## ")[0]
    for path in re.findall(r"(/v1/[a-z_/]+|/health|/metrics|/events/recent)", table):
        tail = path.removeprefix("/v1").rstrip("/")
        assert tail in source, path


@pytest.mark.parametrize("place", losses_table.PLACES, ids=lambda place: place.name)
def test_losses_are_written_from_one_place(place: Path) -> None:
    """The codes in the schema and the examples are those of the code."""
    text = place.read_text("utf-8")
    assert losses_table.PLACES[place](text) == text, "write it anew: python -m tests.losses_table"


def test_the_table_of_losses_is_the_codes() -> None:
    """examples/losses.md holds what `sbgw policy losses --markdown` prints, and its policy is one."""
    printed = CliRunner().invoke(cli, ["policy", "losses", "--markdown"]).output
    document = (ROOT / "examples/losses.md").read_text("utf-8")
    assert printed in document
    assert {row["code"] for row in orjson.loads(CliRunner().invoke(cli, ["policy", "losses", "--json"]).output)} == set(
        LOSSES
    )
    (example,) = fenced(document, "yaml")
    assert load_text(example).name == "faithful"
