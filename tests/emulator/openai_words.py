"""Complaints that Chat Completions and Responses share word for word."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tests.emulator.refusal import Refusal
from tests.emulator.shape import Fields

FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]+")


def check_headers(headers: Mapping[str, str], key: str) -> None:
    """Bearer authentication, OpenAI's words. Raises Refusal."""
    given = headers.get("authorization", "")
    if not given.startswith("Bearer "):
        raise Refusal(
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth"
            " (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the"
            " API from your browser and are prompted for a username and password. You can obtain an API key from"
            " https://platform.openai.com/account/api-keys.",
            401,
        )
    if given.removeprefix("Bearer ").strip() != key:
        raise Refusal(
            "Incorrect API key provided: sk-****. You can find your API key at https://platform.openai.com/account/api-keys.",
            401,
            code="invalid_api_key",
        )


def unknown(path: str) -> Refusal:
    """A parameter nobody knows."""
    return Refusal(f"Unknown parameter: '{path}'.", param=path, code="unknown_parameter")


def missing(path: str) -> Refusal:
    """A required parameter that is not there."""
    return Refusal(f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter")


def wrong_type(path: str, expected: str, value: Any) -> Refusal:
    """A value of the wrong JSON type."""
    got = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
    }
    found = "null" if value is None else got.get(type(value), "something") + " instead"
    found = "null instead" if value is None else found
    return Refusal(f"Invalid type for '{path}': expected {expected}, but got {found}.", param=path, code="invalid_type")


def not_one_of(path: str, value: Any, allowed: Iterable[str]) -> Refusal:
    """A value outside an enumeration."""
    names = [f"'{name}'" for name in allowed]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])}{',' if len(names) > 2 else ''} and {names[-1]}"
    return Refusal(f"Invalid value: '{value}'. Supported values are: {listed}.", param=path, code="invalid_value")


def too_long(path: str, value: str, limit: int) -> None:
    """Raises Refusal for a string over `limit` characters."""
    if len(value) > limit:
        raise Refusal(
            f"Invalid '{path}': string too long. Expected a string with maximum length {limit}, but got a string with length"
            f" {len(value)} instead.",
            param=path,
            code="string_above_max_length",
        )


def empty_array(path: str) -> Refusal:
    """An array that needs an element."""
    return Refusal(
        f"Invalid '{path}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        param=path,
        code="empty_array",
    )


def shape(path: str, value: Any, known: Fields) -> None:
    """Raises Refusal for an unknown or missing key of one object."""
    if not isinstance(value, Mapping):
        raise wrong_type(path, "an object", value)
    dot = f"{path}." if path else ""
    for key in known.unknown(value):
        raise unknown(dot + key)
    for key in known.missing(value):
        raise missing(dot + key)


def function_name(path: str, name: Any) -> None:
    """Raises Refusal for a name that is no function name."""
    if not isinstance(name, str):
        raise wrong_type(path, "a string", name)
    if not FUNCTION_NAME.fullmatch(name):
        raise Refusal(
            f"Invalid '{path}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
            param=path,
            code="invalid_value",
        )
    too_long(path, name, 64)


def function_schema(path: str, name: str, schema: Any, *, strict: bool) -> None:
    """Raises Refusal for parameters that are no object schema, or not closed enough for strict mode."""
    if schema is None:
        return
    if not isinstance(schema, Mapping):
        raise wrong_type(path, "an object", schema)

    def wrong(why: str) -> Refusal:
        return Refusal(f"Invalid schema for function '{name}': {why}", param=path, code="invalid_function_parameters")

    if schema.get("type") != "object":
        raise wrong(f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{schema.get('type')}\"'.")
    if any(word in schema for word in ("oneOf", "anyOf", "allOf", "enum", "not")):
        raise wrong(
            "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level."
        )
    if strict and schema.get("additionalProperties") is not False:
        raise wrong("In context=(), 'additionalProperties' is required to be supplied and to be false.")
    absent = [key for key in schema.get("properties") or {} if key not in (schema.get("required") or ())]
    if strict and absent:
        raise wrong(
            "In context=(), 'required' is required to be supplied and to be an array including every key in properties."
            f" Missing '{absent[0]}'."
        )


def metadata(value: Any) -> None:
    """Raises Refusal for metadata over the documented limits."""
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise wrong_type("metadata", "an object", value)
    if len(value) > 16:
        raise Refusal(
            "Invalid 'metadata': too many properties. Expected an object with at most 16 properties.",
            param="metadata",
            code="object_above_max_properties",
        )
    for key, text in value.items():
        too_long("metadata", key, 64)
        if not isinstance(text, str):
            raise wrong_type(f"metadata.{key}", "a string", text)
        too_long(f"metadata.{key}", text, 512)


def data_url(path: str, url: Any) -> None:
    """Raises Refusal for an image that is neither a web address nor a well-formed data URL of a known type."""
    if not isinstance(url, str) or not url:
        raise wrong_type(path, "a string", url)
    if url.startswith("data:") and not re.fullmatch(
        r"data:image/(png|jpe?g|gif|webp);base64,[A-Za-z0-9+/]+={0,2}", url
    ):
        raise Refusal(
            f"Invalid '{path}'. Expected a base64-encoded data URL with an image MIME type (e.g."
            " 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got an invalid value.",
            param=path,
            code="invalid_value",
        )
    if not url.startswith(("data:", "http://", "https://")):
        raise Refusal(
            f"Invalid '{path}'. Expected a valid URL, but got a value with an invalid format.",
            param=path,
            code="invalid_value",
        )
