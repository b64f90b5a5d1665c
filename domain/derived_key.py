"""Keys for different purposes, derived from the one secret that the operator sets.

Each purpose has its own key, so that what one of them leaks says nothing about another (NIST SP 800-108, in
its shortest form: one block of HMAC-SHA256 over the purpose).
"""

import hmac


def derive_key(secret: str, purpose: str) -> bytes:
    """32 bytes that only who knows the `secret` can make again for this `purpose`."""
    return hmac.digest(secret.encode(), f"member-wallet/{purpose}".encode(), "sha256")
