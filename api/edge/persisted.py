"""Persisted documents: a client names a document by its hash instead of sending it.

Apollo's automatic persisted queries: who asks by an unknown hash is told PersistedQueryNotFound, sends the text
beside the hash once, and it is kept for all processes. Anonymous callers may use what is kept and add nothing.
Trusted documents: the manifest that Apollo Kotlin and Apollo iOS write when the app is built
(``apollo-persisted-query-manifest``), read at the start. In strict mode members and anonymous callers run nothing
else; partners and staff, whose documents are in no manifest of ours, go on as before.

    ManifestInvalid     a manifest cannot be read; the message says which, and what it should be
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from graphql import GraphQLError

from api.access import Anonymous, Caller, PartnerCaller, StaffCaller
from api.edge.documents import RequestError
from api.edge.errors import ExposedError
from api.edge.limits import MAX_BODY_BYTES
from domain.failure import Failure
from domain.store.connection import Store
from domain.store.persisted import document_of, hash_of, register_document

EXTENSION: Final = "persistedQuery"
MANIFEST_FORMAT: Final = "apollo-persisted-query-manifest"
NOT_FOUND: Final = "PERSISTED_QUERY_NOT_FOUND"
NOT_SUPPORTED: Final = "PERSISTED_QUERY_NOT_SUPPORTED"
HASH_MISMATCH: Final = "PERSISTED_QUERY_HASH_MISMATCH"
NOT_TRUSTED: Final = "DOCUMENT_NOT_TRUSTED"
KEPT_TEXTS: Final = 500
MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024
_HASH_LENGTH: Final = 64


class ManifestInvalid(Failure):
    """A manifest of trusted documents cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedDocuments:
    """The texts by their ids. With `strict`, members and anonymous callers run no other."""

    texts: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The document that a request means. `is_new` if it is to be kept under its hash once it is known to be valid."""

    text: str
    is_persisted: bool
    is_new: bool = False


def read_manifests(paths: Sequence[Path], *, strict: bool) -> TrustedDocuments:
    """The documents of all manifests. Raises ManifestInvalid."""
    texts: dict[str, str] = {}
    for path in paths:
        for identifier, text in _read_manifest(path).items():
            if texts.setdefault(identifier, text) != text:
                raise ManifestInvalid(f"{path}: the id {identifier} stands for another document in another manifest.")
    return TrustedDocuments(texts=texts, strict=strict)


class PersistedDocuments:
    """What clients may name by hash, in one process. `trusted` is what the operator's manifests hold."""

    def __init__(self, store: Store, trusted: TrustedDocuments) -> None:
        self._store = store
        self._trusted = trusted
        self._trusted_texts = frozenset(trusted.texts.values())
        self._known: OrderedDict[str, str] = OrderedDict()

    async def find(self, query: str | None, extensions: Mapping[str, Any], caller: Caller) -> Asked:
        """The document that the request means, by its text, its hash, or both. Raises RequestError."""
        named = extensions.get(EXTENSION)
        only_trusted = self._trusted.strict and not isinstance(caller, PartnerCaller | StaffCaller)
        if named is None:
            if query is None:
                raise _refused("query is missing; it must be a string that holds a GraphQL document.", "BAD_REQUEST")
            if only_trusted and query not in self._trusted_texts:
                raise _not_trusted()
            return Asked(text=query, is_persisted=False)
        digest = _digest(named)
        trusted = self._trusted.texts.get(digest)
        if query is None:
            return Asked(text=trusted or await self._found(digest, only_trusted=only_trusted), is_persisted=True)
        if trusted == query:
            return Asked(text=query, is_persisted=True)
        if only_trusted:
            raise _not_trusted() if query not in self._trusted_texts else _mismatch()
        if hash_of(query) != digest:
            raise _mismatch()
        is_new = digest not in self._known and not isinstance(caller, Anonymous)
        return Asked(text=query, is_persisted=True, is_new=is_new)

    async def keep(self, text: str) -> None:
        """Keeps a valid document under its hash, here and for all processes."""
        await register_document(self._store, text)
        self._remember(hash_of(text), text)

    async def _found(self, digest: str, *, only_trusted: bool) -> str:
        if only_trusted:
            raise _refused("PersistedQueryNotSupported", NOT_SUPPORTED)
        known = self._known.get(digest)
        if known is not None:
            self._known.move_to_end(digest)
            return known
        kept = await document_of(self._store, digest) if len(digest) == _HASH_LENGTH else None
        if kept is None:
            raise _refused("PersistedQueryNotFound", NOT_FOUND)
        self._remember(digest, kept)
        return kept

    def _remember(self, digest: str, text: str) -> None:
        self._known[digest] = text
        if len(self._known) > KEPT_TEXTS:
            self._known.popitem(last=False)


def _digest(named: object) -> str:
    if not isinstance(named, dict) or named.get("version") != 1 or not isinstance(named.get("sha256Hash"), str):
        raise _refused(f"{EXTENSION} must be {{version: 1, sha256Hash: a string}}.", "BAD_REQUEST")
    digest: str = named["sha256Hash"]
    return digest


def _refused(message: str, code: str) -> RequestError:
    return RequestError([ExposedError(message, code=code)], code=code)


def _mismatch() -> RequestError:
    return _refused("provided sha does not match query", HASH_MISMATCH)


def _not_trusted() -> RequestError:
    error: GraphQLError = ExposedError(
        "This server runs only the documents of the app's manifest; publish the app's new manifest with the server.",
        code=NOT_TRUSTED,
    )
    return RequestError([error], code=NOT_TRUSTED)


def _read_manifest(path: Path) -> dict[str, str]:
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ManifestInvalid(f"{path}: a manifest of more than {MAX_MANIFEST_BYTES} bytes is not read.")
        manifest = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise ManifestInvalid(f"{path}: cannot be read as JSON: {error}.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != MANIFEST_FORMAT or manifest.get("version") != 1:
        raise ManifestInvalid(f"{path}: should be a manifest of the format {MANIFEST_FORMAT}, version 1.")
    operations = manifest.get("operations")
    if not isinstance(operations, list):
        raise ManifestInvalid(f"{path}: operations should be a list.")
    texts: dict[str, str] = {}
    for number, operation in enumerate(operations):
        identifier, body = (operation.get("id"), operation.get("body")) if isinstance(operation, dict) else (None, None)
        if not isinstance(identifier, str) or not isinstance(body, str) or len(body.encode()) > MAX_BODY_BYTES:
            raise ManifestInvalid(f"{path}: operations[{number}] should have an id and a body, both strings.")
        if texts.setdefault(identifier, body) != body:
            raise ManifestInvalid(f"{path}: operations[{number}].id is that of another operation.")
    return texts
