"""The Messages API's objects as tables: which fields each block, tool and setting takes, and which need a beta header.

Tables follow the published SDK types; a test holds them against the installed SDK.
"""

from __future__ import annotations

from tests.emulator.shape import Fields, fields

TOP = fields(
    "model messages max_tokens",
    "cache_control container diagnostics inference_geo metadata output_config service_tier speed stop_sequences stream"
    " system temperature thinking tool_choice tools top_k top_p user_profile_id workspace_id",
)
COUNT = fields("model messages", "cache_control output_config speed system thinking tool_choice tools")
BETA_TOP = {
    "billing_policy": "user-profiles-billing",
    "compaction": "compact-2026-09-04",
    "context_management": "context-management-2025-06-27",
    "fallback_credit_token": "fallback-credit",
    "fallbacks": "server-side-fallback",
    "mcp_servers": "mcp-client",
    "thread": "message-threads",
}
"""Top-level fields that are unknown unless a beta with this prefix is asked for."""

BLOCKS: dict[str, Fields] = {
    "text": fields("type text", "cache_control citations"),
    "image": fields("type source", "cache_control transformations"),
    "document": fields("type source", "cache_control citations context title"),
    "search_result": fields("type source title content", "cache_control citations"),
    "thinking": fields("type thinking signature"),
    "redacted_thinking": fields("type data"),
    "tool_use": fields("type id name input", "cache_control caller toolset_name"),
    "tool_result": fields("type tool_use_id", "cache_control content is_error toolset_name"),
    "tool_reference": fields("type tool_name", "cache_control"),
    "server_tool_use": fields("type id name input", "cache_control caller"),
    "web_search_tool_result": fields("type tool_use_id content", "cache_control caller"),
    "web_fetch_tool_result": fields("type tool_use_id content", "cache_control caller"),
    "code_execution_tool_result": fields("type tool_use_id content", "cache_control"),
    "bash_code_execution_tool_result": fields("type tool_use_id content", "cache_control"),
    "text_editor_code_execution_tool_result": fields("type tool_use_id content", "cache_control"),
    "tool_search_tool_result": fields("type tool_use_id content", "cache_control"),
    "container_upload": fields("type file_id", "cache_control"),
}
BETA_BLOCKS: dict[str, tuple[Fields, str]] = {
    "compaction": (fields("type content", "cache_control encrypted_content signature tool_changes"), "compact-"),
    "fallback": (fields("type", "from to trigger"), "server-side-fallback"),
    "mcp_tool_use": (fields("type id name input server_name", "cache_control"), "mcp-client"),
    "mcp_tool_result": (fields("type tool_use_id", "cache_control content is_error"), "mcp-client"),
    "advisor_tool_result": (fields("type tool_use_id content", "cache_control"), "advisor-tool"),
    "tool_addition": (fields("type tool", "cache_control"), "mid-conversation-tool-changes"),
    "tool_removal": (fields("type tool", "cache_control"), "mid-conversation-tool-changes"),
}
BY_ROLE = {
    "user": frozenset(
        ["text", "image", "document", "search_result", "tool_result", "container_upload", "tool_reference"]
    )
    | {name for name in BLOCKS if name.endswith("_tool_result")}
    | {"mcp_tool_result", "advisor_tool_result", "compaction"},
    "assistant": frozenset(BLOCKS)
    - {"image", "document", "search_result", "tool_result", "container_upload", "tool_reference"}
    | {"compaction", "fallback", "mcp_tool_use", "mcp_tool_result", "advisor_tool_result"},
    "system": frozenset({"text", "tool_addition", "tool_removal"}),
}
"""Which blocks may stand in whose message."""

MESSAGE = fields("role content")
SYSTEM_MESSAGE_BETA = {
    "output_config": ("mid-conversation-output-config", "per-turn-control"),
    "clear_at": ("mid-conversation-system-clear-at",),
}
CUSTOM_TOOL = fields(
    "name input_schema",
    "allowed_callers cache_control defer_loading description eager_input_streaming input_examples strict type",
)
SERVER_TOOL = fields(
    "type name",
    "allowed_callers allowed_domains blocked_domains cache_control citations defer_loading input_examples"
    " max_characters max_content_tokens max_uses response_inclusion strict url_sources use_cache user_location",
)
SERVER_TOOL_KINDS = (
    "bash_2",
    "browser_toolset_2",
    "code_execution_2",
    "computer_2",
    "computer_toolset_2",
    "memory_2",
    "text_editor_2",
    "tool_search_tool_",
    "web_fetch_2",
    "web_search_2",
    "mcp_toolset",
    "advisor_2",
)
TOOL_CHOICE = {
    "auto": fields("type", "disable_parallel_tool_use"),
    "any": fields("type", "disable_parallel_tool_use"),
    "tool": fields("type name", "disable_parallel_tool_use"),
    "none": fields("type"),
}
THINKING = {
    "enabled": fields("type budget_tokens", "display"),
    "adaptive": fields("type", "display"),
    "disabled": fields("type"),
    "between_tools": fields("type"),
}
OUTPUT_CONFIG = fields("", "effort format")
OUTPUT_CONFIG_BETA = {"task_budget": "task-budgets"}
CACHE_CONTROL = fields("type", "ttl")
METADATA = fields("", "user_id")
SOURCES = {
    "base64": fields("type media_type data"),
    "url": fields("type url"),
    "file": fields("type file_id"),
    "text": fields("type media_type data"),
    "content": fields("type content"),
}
IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")

BETAS = frozenset(
    [
        "advanced-tool-use-2025-11-20",
        "advisor-tool-2026-03-01",
        "agent-memory-2026-07-22",
        "cache-diagnosis-2026-04-07",
        "claude-code-20250219",
        "code-execution-2025-05-22",
        "compact-2026-01-12",
        "compact-2026-09-04",
        "computer-use-2024-10-22",
        "computer-use-2025-01-24",
        "computer-use-2025-11-24",
        "context-1m-2025-08-07",
        "context-management-2025-06-27",
        "dev-full-thinking-2025-05-14",
        "effort-2025-11-24",
        "extended-cache-ttl-2025-04-11",
        "fallback-credit-2026-06-01",
        "fallback-credit-2026-07-01",
        "fast-mode-2026-02-01",
        "files-api-2025-04-14",
        "fine-grained-tool-streaming-2025-05-14",
        "inline-tools-2026-09-15",
        "interleaved-thinking-2025-05-14",
        "mcp-client-2025-04-04",
        "mcp-client-2025-11-20",
        "mcp-client-2026-09-15",
        "mcp-tunnels-2026-06-22",
        "message-batches-2024-09-24",
        "message-threads-2026-08-12",
        "mid-conversation-output-config-2026-07-01",
        "mid-conversation-system-clear-at-2026-08-21",
        "mid-conversation-tool-changes-2026-07-01",
        "model-context-window-exceeded-2025-08-26",
        "oauth-2025-04-20",
        "output-128k-2025-02-19",
        "output-300k-2026-03-24",
        "pdfs-2024-09-25",
        "per-turn-control-2026-07-01",
        "prompt-caching-2024-07-31",
        "redact-thinking-2026-02-12",
        "server-side-fallback-2026-06-01",
        "server-side-fallback-2026-07-01",
        "skills-2025-10-02",
        "structured-outputs-2025-11-13",
        "structured-outputs-2025-12-15",
        "task-budgets-2026-03-13",
        "thinking-binding-controls-2026-08-01",
        "thinking-display-updates-2026-08-18",
        "thinking-token-count-2026-05-13",
        "token-counting-2024-11-01",
        "token-efficient-tools-2025-02-19",
        "user-profiles-2026-03-24",
        "user-profiles-2026-08-18",
        "user-profiles-2026-09-04",
        "user-profiles-billing-2026-10-01",
    ]
)
"""Beta names that are accepted in `anthropic-beta`."""

VERSIONS = frozenset({"2023-01-01", "2023-06-01", "2026-10-21"})
