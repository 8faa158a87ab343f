"""What connects an agent names the gateway it is to connect to."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.cli import cli
from engine.cli.setup import key_expression


def test_the_key_is_that_of_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway with its own state folder has its own key; the usual one needs no option."""
    monkeypatch.delenv("STACKBILT_GATEWAY_KEY", raising=False)
    monkeypatch.delenv("SBGW_STATE_DIR", raising=False)
    folder = tmp_path / "my state"
    told = CliRunner().invoke(cli, ["setup", "claude-code", "--state-dir", str(folder)]).output
    assert f"$(sbgw key --state-dir '{folder}')" in told
    assert key_expression(None) == '"$(sbgw key)"'


def test_a_key_in_the_environment_is_named_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable's name, never its value."""
    monkeypatch.setenv("STACKBILT_GATEWAY_KEY", "sbgw-secret-of-a-test")
    told = CliRunner().invoke(cli, ["setup", "codex"]).output
    assert "STACKBILT_GATEWAY_KEY" in told
    assert "sbgw-secret-of-a-test" not in told
