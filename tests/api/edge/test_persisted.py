"""Documents named by their hash: Apollo's automatic persisted queries, trusted documents, and what caches may keep."""

import gzip
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from api.edge.app import build_app
from api.edge.persisted import ManifestInvalid, read_manifests
from domain.settings import DocumentMode
from domain.store.persisted import hash_of
from tests.api.conftest import Edge, a_schema, codes
from tests.api.shop import opened_client

PROGRAMME = "query Programme { programme { name locale } }"
ME = "query Me { me { id } }"


def named(text: str, digest: str | None = None) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": digest or hash_of(text)}}


async def send(
    client: httpx.AsyncClient, body: Mapping[str, Any], token: str | None = None, **headers: str
) -> httpx.Response:
    authorization = {} if token is None else {"Authorization": f"Bearer {token}"}
    return await client.post("/graphql", json=body, headers={**authorization, **headers})


async def get(
    client: httpx.AsyncClient, text: str, token: str | None = None, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    authorization = {} if token is None else {"Authorization": f"Bearer {token}"}
    parameters = {"extensions": orjson.dumps(named(text)).decode()}
    return await client.get("/graphql", params=parameters, headers={**authorization, **(headers or {})})


async def test_an_unknown_hash_is_told_so_by_apollos_words_and_registered_with_its_text(edge: Edge) -> None:
    token = await edge.member_token()

    unknown = await send(edge.client, {"extensions": named(ME)}, token)
    sent = await send(edge.client, {"query": ME, "extensions": named(ME)}, token)
    known = await send(edge.client, {"extensions": named(ME)}, token)

    assert unknown.status_code == 200
    assert unknown.json()["errors"][0]["message"] == "PersistedQueryNotFound"
    assert codes(unknown) == ["PERSISTED_QUERY_NOT_FOUND"]
    assert sent.json() == known.json() == {"data": {"me": {"id": "m1"}}, "extensions": {"cost": 1}}


async def test_what_one_process_registered_another_knows(edge: Edge) -> None:
    await send(edge.client, {"query": ME, "extensions": named(ME)}, await edge.member_token())

    async with opened_client(build_app(edge.services, a_schema())) as another:
        response = await send(another, {"extensions": named(ME)}, await edge.member_token())

    assert response.json()["data"] == {"me": {"id": "m1"}}


async def test_nobody_in_particular_uses_what_is_there_and_adds_nothing(edge: Edge) -> None:
    first = await send(edge.client, {"query": PROGRAMME, "extensions": named(PROGRAMME)})
    again = await send(edge.client, {"extensions": named(PROGRAMME)})
    await send(edge.client, {"query": PROGRAMME, "extensions": named(PROGRAMME)}, await edge.member_token())
    known = await send(edge.client, {"extensions": named(PROGRAMME)})

    assert first.json()["data"]["programme"]["name"] == "Café"
    assert codes(again) == ["PERSISTED_QUERY_NOT_FOUND"]
    assert known.json()["data"]["programme"]["name"] == "Café"


async def test_a_text_under_another_hash_and_a_document_that_is_not_valid_are_not_kept(edge: Edge) -> None:
    token = await edge.member_token()

    forged = await send(edge.client, {"query": ME, "extensions": named(PROGRAMME)}, token)
    invalid = await send(edge.client, {"query": "{ nothing }", "extensions": named("{ nothing }")}, token)
    strange = await send(edge.client, {"extensions": {"persistedQuery": {"version": 2}}}, token)

    assert codes(forged) == ["PERSISTED_QUERY_HASH_MISMATCH"]
    assert codes(invalid) == ["GRAPHQL_VALIDATION_FAILED"]
    assert codes(strange) == ["BAD_REQUEST"]
    assert await edge.services.store.persisted_documents.count_documents({}) == 0


async def test_a_members_answer_is_kept_by_himself_alone_and_sent_once(edge: Edge) -> None:
    token = await edge.member_token()
    await send(edge.client, {"query": ME, "extensions": named(ME)}, token)

    first = await get(edge.client, ME, token)
    again = await get(edge.client, ME, token, {"If-None-Match": first.headers["etag"]})
    anonymous = await get(edge.client, ME, None, {"If-None-Match": first.headers["etag"]})

    assert first.headers["cache-control"] == "private, no-cache"
    assert "Authorization" in first.headers["vary"]
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert codes(anonymous) == ["UNAUTHENTICATED"]
    assert anonymous.headers["cache-control"] == "no-store"


async def test_an_answer_to_nobody_in_particular_may_be_kept_by_any_cache_for_a_while(edge: Edge) -> None:
    await send(edge.client, {"query": PROGRAMME, "extensions": named(PROGRAMME)}, await edge.member_token())

    first = await get(edge.client, PROGRAMME)
    german = await get(edge.client, PROGRAMME, None, {"Accept-Language": "de", "If-None-Match": first.headers["etag"]})

    assert first.headers["cache-control"] == "public, max-age=30"
    assert german.status_code == 200
    assert german.json()["data"]["programme"]["locale"] == "de"


async def test_a_query_by_get_that_sends_its_text_is_not_kept(edge: Edge) -> None:
    response = await edge.client.get("/graphql", params={"query": PROGRAMME})

    assert response.headers["cache-control"] == "no-store"
    assert "etag" not in response.headers


def manifest(folder: Path, **texts: str) -> Path:
    operations = [{"id": each, "name": each, "type": "query", "body": text} for each, text in texts.items()]
    path = folder / "manifest.json"
    path.write_bytes(
        orjson.dumps({"format": "apollo-persisted-query-manifest", "version": 1, "operations": operations})
    )
    return path


async def test_in_strict_mode_members_run_the_manifests_documents_and_no_other(edge: Edge, tmp_path: Path) -> None:
    settings = replace(
        edge.services.settings,
        trusted_documents=(manifest(tmp_path, me=ME),),
        trusted_documents_mode=DocumentMode.STRICT,
    )
    services = replace(edge.services, settings=settings)
    token, till = await edge.member_token(), await edge.partner_token("members:read")
    async with opened_client(build_app(services, a_schema())) as client:
        by_id = await send(client, {"extensions": named(ME, "me")}, token)
        by_text = await send(client, {"query": ME}, token)
        other = await send(client, {"query": "{ me { joinedAt } }"}, token)
        unknown = await send(client, {"extensions": named(PROGRAMME)}, token)
        partner = await send(client, {"query": '{ member(by: {id: "m1"}) { id } }'}, till)
    await services.close()

    assert by_id.json()["data"] == by_text.json()["data"] == {"me": {"id": "m1"}}
    assert codes(other) == ["DOCUMENT_NOT_TRUSTED"]
    assert unknown.json()["errors"][0]["message"] == "PersistedQueryNotSupported"
    assert codes(unknown) == ["PERSISTED_QUERY_NOT_SUPPORTED"]
    assert partner.json()["data"] == {"member": {"id": "m1"}}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "JSON"),
        (b"[]", "apollo-persisted-query-manifest"),
        (b'{"format": "apollo-persisted-query-manifest", "version": 2, "operations": []}', "version 1"),
        (b'{"format": "apollo-persisted-query-manifest", "version": 1}', "operations should be a list"),
        (
            b'{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{"id": "a"}]}',
            "operations[0] should have an id and a body",
        ),
    ],
)
def test_a_manifest_that_cannot_be_used_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content)

    with pytest.raises(ManifestInvalid) as refused:
        read_manifests([path], strict=False)

    assert str(path) in str(refused.value)
    assert told in str(refused.value)


async def test_bodies_are_compressed_both_ways_where_the_client_says_so(edge: Edge) -> None:
    schema = orjson.dumps({"query": "{ __schema { types { name fields { name } } } }"})
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    taken = await edge.client.post(
        "/graphql", content=gzip.compress(schema), headers={**headers, "Accept-Encoding": "gzip"}
    )
    plain = await edge.client.post(
        "/graphql", content=gzip.compress(schema), headers={**headers, "Accept-Encoding": "gzip;q=0"}
    )

    assert taken.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert taken.json() == plain.json()


@pytest.mark.parametrize(
    ("content", "encoding", "status"),
    [
        (gzip.compress(b" " * 2**26), "gzip", 413),
        (b"no gzip", "gzip", 400),
        (gzip.compress(b"{}" * 100)[:-12], "gzip", 400),
        (b"{}", "br", 415),
    ],
    ids=["a bomb", "none", "cut off", "another"],  # the packed bytes hold the time of packing
)
async def test_a_compressed_body_is_unpacked_no_further_than_allowed(
    edge: Edge, content: bytes, encoding: str, status: int
) -> None:
    response = await edge.client.post(
        "/graphql", content=content, headers={"Content-Type": "application/json", "Content-Encoding": encoding}
    )

    assert response.status_code == status
