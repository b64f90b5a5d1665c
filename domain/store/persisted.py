"""GraphQL documents that clients have registered under their SHA-256, for all processes.

At most `MAX_DOCUMENTS` are kept, each for a month after it was registered last; when there is no room the oldest
tenth goes, and its clients, told that it is not found, register it again.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from domain.store.connection import Store

MAX_DOCUMENTS: Final = 5_000
KEPT_FOR: Final = timedelta(days=30)


def hash_of(text: str) -> str:
    """SHA-256 of the text in UTF-8, in small hexadecimal letters."""
    return sha256(text.encode()).hexdigest()


async def register_document(store: Store, text: str) -> None:
    """Keeps the text under its hash."""
    if await store.persisted_documents.estimated_document_count() >= MAX_DOCUMENTS:
        oldest = store.persisted_documents.find({}, {"_id": 1}).sort("kept_until", 1).limit(MAX_DOCUMENTS // 10)
        await store.persisted_documents.delete_many({"_id": {"$in": [each["_id"] async for each in oldest]}})
    # By real time, as the server cleans up.
    kept_until = datetime.now(UTC) + KEPT_FOR
    await store.persisted_documents.update_one(
        {"_id": hash_of(text)}, {"$set": {"text": text, "kept_until": kept_until}}, upsert=True
    )


async def document_of(store: Store, digest: str) -> str | None:
    """The text of that hash, or None."""
    found = await store.persisted_documents.find_one({"_id": digest})
    return None if found is None else str(found["text"])
