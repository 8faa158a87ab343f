"""How text is cut into stream chunks."""

from __future__ import annotations


def pieces(text: str, size: int = 12) -> list[str]:
    """`text` in parts of `size` characters; joined they are `text` again."""
    return [text[start : start + size] for start in range(0, len(text), size)]
