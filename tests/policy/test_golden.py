"""Every way to get a policy wrong has a golden text: what a user reads, with file, line, column, caret and advice.

`SBGW_GOLDEN=write pytest tests/policy/test_golden.py` writes them anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest

from engine.pipeline import check_pipeline
from engine.policy.load import check_text
from engine.policy.render import render_all

GOLDEN = Path(__file__).parent / "golden"
TODAY = date(2026, 11, 24)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_problems_read_as_recorded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `check` says about the file is what its golden text says."""
    monkeypatch.chdir(GOLDEN)
    told = render_all(check_text(path.read_bytes(), file=path.name, today=TODAY, graph=check_pipeline)) + "\n"
    recorded = path.with_suffix(".txt")
    if os.environ.get("SBGW_GOLDEN") == "write":
        recorded.write_text(told, "utf-8")
    assert recorded.read_text("utf-8") == told
