"""What nobody caught is told by place, and never by what its message quotes."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.cli import defects

SECRET = "sk-ant-api03-c4n4ryInACrash0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What is told to the log; Python's own ways are put back afterwards."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    return []


async def _failing() -> None:
    raise ValueError(SECRET)


async def test_a_task_a_thread_and_a_library_tell_no_message(
    logged: list[tuple[str, dict[str, Any]]], capfd: pytest.CaptureFixture[str]
) -> None:
    """Kind and place of each, and a library's words before anything was filled into them."""
    loop = asyncio.get_running_loop()
    defects.told(loop, lambda event, **fields: logged.append((event, fields)))
    task = loop.create_task(_failing())
    await asyncio.sleep(0)
    del task
    thread = threading.Thread(target=lambda: int(SECRET))
    thread.start()
    thread.join()
    loop.call_soon(lambda: int(SECRET))
    await asyncio.sleep(0.01)
    logging.getLogger("aiohttp.server").error("Error handling request from %s", SECRET, exc_info=ValueError(SECRET))
    logging.getLogger("other").warning(f"filled in already: {SECRET}")  # noqa: G004
    loop.set_exception_handler(None)
    said = [(event, fields.get("stage") or fields.get("logger"), fields.get("said")) for event, fields in logged]
    assert said == [
        ("defect", "loop", None), ("defect", "thread", None), ("defect", "loop", None),
        ("library", "aiohttp.server", "Error handling request from %s"), ("library", "other", ""),
    ]  # fmt: skip
    printed = capfd.readouterr()
    assert SECRET not in printed.out + printed.err + str([{**fields, "error": None} for _, fields in logged])


def test_a_command_that_breaks_tells_no_message(tmp_path: Path) -> None:
    """The process ends with a line of the log: kind and place, not what stands in the message."""
    program = f"""
import engine.cli.key as key
from engine.cli import main
def broken(*_):
    raise RuntimeError("{SECRET}")
key.gateway_key = broken
import sys
sys.argv = ["sbgw", "key"]
main()
"""
    environment = {**os.environ, "SBGW_STATE_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert (ended.returncode, SECRET in ended.stdout + ended.stderr) == (1, False), ended.stderr
    assert '"kind":"RuntimeError"' in ended.stderr
    assert "cli/key.py:" in ended.stderr
