"""What `sbgw test` prints, word for word: failures with the rules behind them, coverage, and every wrong name.

`SBGW_GOLDEN=write pytest tests/policy/testing/test_text.py` writes the texts anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.cli import cli

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("failing", ["failing.test.yaml", "--coverage"], 1),
        ("failing.json", ["failing.test.yaml", "--coverage", "--format", "json"], 1),
        ("failing.junit", ["failing.test.yaml", "--format", "junit"], 1),
        ("names", ["names.test.yaml"], 1),
        ("short", ["failing.test.yaml", "-k", "comes true", "--min-coverage", "60"], 1),
    ],
)
def test_output_reads_as_recorded(name: str, arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's output is the golden text, with the exit code that goes with it."""
    monkeypatch.chdir(GOLDEN)
    result = CliRunner().invoke(cli, ["test", *arguments])
    # The digest covers the shipped rows, which change.
    told = re.sub("small@[0-9a-f]{12}", "small@…", result.output)
    recorded = GOLDEN / f"{name}.txt"
    if os.environ.get("SBGW_GOLDEN") == "write":
        recorded.write_text(told, "utf-8")
    assert (recorded.read_text("utf-8"), code) == (told, result.exit_code)
