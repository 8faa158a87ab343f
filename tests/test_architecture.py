"""The house rules that a linter does not know: who may import whom, no vendor names in code, sizes."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "engine"

RANK = {
    "llm": 0,
    "protocols": 1,
    "policy": 1,
    "providers": 1,
    "store": 1,
    "telemetry": 1,
    "memory": 1,
    "exchange": 2,
    "exports": 3,
    "stages": 3,
    "probe": 3,
    "pipeline": 4,
    "gateway": 5,
    "explained": 5,
    "bodies": 4,
    "guard": 4,
    "callers": 5,
    "patience": 5,
    "shadow": 4,
    "reload": 6,
    "routes": 6,
    "server": 7,
    "cli": 8,
}
"""A part may import parts of a lower rank, and itself."""

SIBLINGS_ALLOWED = {
    ("providers", "policy"),  # the provider layer reads the compiled policy's rows and fills its ProviderState
    ("store", "policy"),  # an event holds a decision
    ("telemetry", "store"),  # metrics are fed by the event
}

VENDORS = (
    "anthropic", "openai", "groq", "cerebras", "cloudflare", "nvidia", "openrouter", "gemini", "mistral", "deepseek", "ollama",
    "fireworks", "together",
)  # fmt: skip
"""Provider names: they live in YAML. Protocol names and headers that carry a vendor's name are listed below."""

VENDOR_WORDS_ALLOWED = (
    "anthropic-messages", "anthropic_messages", "anthropicmessages", "openai-chat", "openai_chat", "openaichat",
    "openai-responses", "openai_responses", "openairesponses", "anthropic-", "openai-", "anthropic_", "x-openai-",
    "gemini-cli", "gemini_cli", "x_groq",
)  # fmt: skip

BROAD_EXCEPT_ALLOWED = {
    "engine/telemetry/courier.py",
    "engine/pipeline.py",
    "engine/reload.py",
    "engine/server.py",
    "engine/store/ledger.py",
}
"""Request boundary and background task boundary; CEL's is listed by its own folder."""


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(ENGINE.rglob("*.py")):
        yield path, ast.parse(path.read_text("utf-8"))


def part(path: Path) -> str:
    relative = path.relative_to(ENGINE)
    return relative.parts[0].removesuffix(".py")


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


def test_imports_run_one_way() -> None:
    """A part imports only parts below it."""
    wrong = []
    for path, tree in modules():
        mine = part(path)
        if mine == "__init__":
            continue
        for line, name in imports(tree):
            if not name.startswith("engine."):
                continue
            theirs = name.split(".")[1]
            allowed = theirs == mine or RANK[theirs] < RANK[mine] or (mine, theirs) in SIBLINGS_ALLOWED
            if not allowed and not _type_checking_only(tree, line):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert wrong == []


def _type_checking_only(tree: ast.Module, line: int) -> bool:
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return node.lineno <= line <= (node.end_lineno or 0)
    return False


def test_protocols_do_not_import_each_other() -> None:
    """Each protocol stands alone; what they share has a module of its own."""
    names = {"anthropic_messages", "openai_chat", "openai_responses"}
    wrong = []
    for path, tree in modules():
        if part(path) != "protocols" or path.name == "registry.py":
            continue
        mine = path.relative_to(ENGINE / "protocols").parts[0].removesuffix(".py")
        for line, name in imports(tree):
            pieces = name.split(".")
            if name.startswith("engine.protocols.") and pieces[2] in names - {mine}:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert wrong == []


def test_pure_parts_do_no_io() -> None:
    """Vocabulary, protocols and policy logic touch no socket, loop or database."""
    banned = {"asyncio", "socket", "aiohttp", "sqlite3", "threading", "subprocess", "urllib.request", "http.client"}
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path, tree in modules()
        if part(path) in {"llm", "protocols", "policy"}
        for line, name in imports(tree)
        if name.split(".")[0] in banned or name in banned
    ]
    assert wrong == []


def test_no_vendor_name_in_code() -> None:
    """Providers are rows in YAML: no string or name in the code says one, docstrings and client names apart."""
    wrong = []
    for path, tree in modules():
        if part(path) == "cli" or path.name == "clients.py":
            continue
        docstrings = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                text = node.value.lower()
                for word in VENDOR_WORDS_ALLOWED:
                    text = text.replace(word, "")
                wrong += [f"{path.relative_to(ROOT)}:{node.lineno} {vendor!r}" for vendor in VENDORS if vendor in text]
    assert wrong == []


def test_no_broad_except_elsewhere() -> None:
    """Only the named boundaries catch everything."""
    wrong = []
    for path, tree in modules():
        name = str(path.relative_to(ROOT))
        if name in BROAD_EXCEPT_ALLOWED or name.startswith("engine/policy/cel/"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}
            ):
                reraises = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
                if not reraises:
                    wrong.append(f"{name}:{node.lineno}")
    assert wrong == []


def test_sizes() -> None:
    """No module over 600 lines, no function over 60: the maxima tell good code bases from bad ones."""
    long_modules = [str(p.relative_to(ROOT)) for p, _ in modules() if len(p.read_text("utf-8").splitlines()) > 600]
    long_functions = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 60
    ]
    assert (long_modules, long_functions) == ([], [])


@pytest.mark.parametrize("banned", ["pickle", "marshal", "shelve"])
def test_unsafe_serialisers_are_not_used(banned: str) -> None:
    """Nothing that runs code on reading is imported."""
    wrong = [
        f"{p.relative_to(ROOT)}:{line}"
        for p, tree in modules()
        for line, name in imports(tree)
        if name.split(".")[0] == banned
    ]
    assert wrong == []


def test_only_the_command_line_prints() -> None:
    """No print outside engine/cli."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in modules()
        if part(path) != "cli"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert wrong == []


def test_json_is_printed_in_one_way() -> None:
    """Commands print JSON through `json_text`, which escapes what drives a terminal; orjson leaves some of it."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in modules()
        if part(path) == "cli"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"click.echo", "sys.stdout.write", "sys.stderr.write"}
        and any("dumps" in ast.unparse(argument) for argument in node.args)
    ]  # fmt: skip
    assert wrong == []


def test_no_redirect_is_ever_followed() -> None:
    """Every request of the transport says allow_redirects=False, and nobody else makes client requests."""
    wrong = []
    for path, tree in modules():
        if part(path) == "cli":
            continue
        names = [name for _, name in imports(tree)]
        if "aiohttp" in names and path.name not in {
            "transport.py",
            "bodies.py",
            "callers.py",
            "server.py",
            "inspection.py",
            "events.py",
            "event_stream.py",
            "reply.py",
        }:
            wrong.append(str(path.relative_to(ROOT)))
    source = (ENGINE / "providers/transport.py").read_text("utf-8")
    assert (wrong, source.count("allow_redirects=False")) == ([], 1)


NOT_FOR_SERVING = {
    "celpy", "jsonschema", "referencing", "rich", "diskcache", "opentelemetry", "pytest",
    "engine.policy.lint", "engine.policy.replay", "engine.policy.testing", "engine.probe", "engine.store.costs",
}  # fmt: skip
"""Modules that a gateway with a shipped policy does without until somebody asks for what they do: each is slow to import."""

NOT_FOR_HELP = {
    "aiohttp",
    "asyncio",
    "jinja2",
    "lark",
    "orjson",
    "re2",
    "sqlite3",
    "yaml",
    "engine.policy",
    "engine.store",
}

NOT_FOR_THE_LEDGER = {"aiohttp", "genai_prices", "jinja2", "lark", "jsonschema", "engine.stages", "engine.gateway"}

STARTS = """
import sys
from pathlib import Path
from engine.cli import run, policy_source
from engine.gateway import Gateway
import engine.cli.announce, engine.cli.log, engine.guard, engine.reload, engine.server, engine.store.key
source = policy_source.PolicySource.find(None, None)
import asyncio
async def serve():
    gateway = Gateway(source.load(), environ={}, state=Path(sys.argv[1]), log=lambda *_, **__: None)
    await gateway.start()
    loaded = sorted(sys.modules)
    await gateway.close()
    return loaded
print(*asyncio.run(serve()), sep="\\n")
"""

COMMAND = """
import sys
from engine.cli import cli
for words in sys.argv[2:]:
    cli([words], standalone_mode=False)
print("MODULES", *sorted(sys.modules), sep="\\n")
"""


def _loaded(program: str, state: Path, *words: str) -> set[str]:
    """Modules that a process of its own has imported when `program` is through."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SBGW_STATE_DIR": str(state)}
    command = [sys.executable, "-c", program, str(state), *words]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=state)
    return set(out.stdout.rpartition("MODULES")[2].split())


def _among(loaded: set[str], banned: set[str]) -> set[str]:
    return {name for name in loaded if any(name == one or name.startswith(f"{one}.") for one in banned)}


def test_a_start_imports_nothing_that_serving_can_do_without(tmp_path: Path) -> None:
    """What is slow to import and not needed for requests waits until it is asked for."""
    loaded = _loaded(STARTS, tmp_path)
    assert (_among(loaded, NOT_FOR_SERVING), "engine.stages.dispatch" in loaded) == (set(), True)


def test_help_and_the_ledgers_commands_import_little(tmp_path: Path) -> None:
    """`sbgw --help` reads a table of its own; commands that only read the ledger need no server and no policy language."""
    assert _among(_loaded(COMMAND, tmp_path, "--help"), NOT_FOR_HELP) == set()
    assert _among(_loaded(COMMAND, tmp_path, "events", "sessions", "cost"), NOT_FOR_THE_LEDGER) == set()
