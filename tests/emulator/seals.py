"""Opaque state that only its issuer can check: thinking signatures and encrypted reasoning.

Each emulator has its own secret, so a signature of one emulated vendor is refused by another, as between real vendors. A seal
says what it covers: the shown text, the model family, the prefix it was produced after, and the thinking block before it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass

SIZE = 12
"""Bytes of each part of a seal."""


@dataclass(slots=True, frozen=True)
class Seal:
    """What a genuine signature tells: its own mark, the mark of the block before it, and the digest of its prefix."""

    mark: bytes
    previous: bytes
    prefix: bytes


class Seals:
    """Issues and checks seals with a secret that nobody else knows."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def _mac(self, *parts: bytes) -> bytes:
        return hmac.new(self._secret, b"\0".join(parts), hashlib.sha256).digest()[:SIZE]

    def sign(self, text: str, *, prefix: bytes, previous: bytes = b"") -> str:
        """A signature for a thinking block with `text`, after `prefix` and after the block marked `previous`."""
        mark, before = secrets.token_bytes(SIZE), previous or bytes(SIZE)
        digest = hashlib.sha256(prefix).digest()[:SIZE]
        mac = self._mac(b"thinking", text.encode(), mark, before, digest)
        return base64.b64encode(b"\x12\xa9\x04" + mark + before + digest + mac + b"\x18\x01").decode()

    def read(self, text: str, signature: str) -> Seal | None:
        """The seal in `signature` if this issuer made it for exactly this `text`, else None."""
        try:
            raw = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            return None
        if len(raw) != 4 * SIZE + 5:
            return None
        mark, before, digest, mac = (raw[3 + i * SIZE : 3 + (i + 1) * SIZE] for i in range(4))
        genuine = hmac.compare_digest(mac, self._mac(b"thinking", text.encode(), mark, before, digest))
        return Seal(mark, before, digest) if genuine else None

    def matches(self, seal: Seal, prefix: bytes) -> bool:
        """Whether a seal was issued after this prefix."""
        return seal.prefix == hashlib.sha256(prefix).digest()[:SIZE]

    def encrypt(self, item_id: str) -> str:
        """Encrypted reasoning content, bound to its item."""
        nonce = secrets.token_bytes(SIZE)
        owner = self._mac(b"owner", item_id.encode())
        mac = self._mac(b"reasoning", nonce, owner)
        return "gAAAAABq" + base64.urlsafe_b64encode(nonce + owner + mac + secrets.token_bytes(60)).decode()

    def decrypt(self, content: str, item_id: str = "") -> str:
        """'' if this issuer made `content` (for `item_id`, where given), else the vendor's reason why it is refused."""
        unreadable = "Encrypted content could not be decrypted or parsed."
        try:
            raw = base64.urlsafe_b64decode(content.removeprefix("gAAAAABq"))
        except (binascii.Error, ValueError):
            return unreadable
        nonce, owner, mac = (raw[i * SIZE : (i + 1) * SIZE] for i in range(3))
        if not content.startswith("gAAAAABq") or not hmac.compare_digest(mac, self._mac(b"reasoning", nonce, owner)):
            return unreadable
        if item_id and owner != self._mac(b"owner", item_id.encode()):
            return "Encrypted content item_id did not match the target item id."
        return ""
