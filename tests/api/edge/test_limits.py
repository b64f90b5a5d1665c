"""How large a document may be, and that a larger one is refused before anything is done."""

import pytest

from tests.api.conftest import DONE, Edge, codes


def nested(depth: int) -> str:
    """A query of `depth` fields below each other, the leaf included."""
    return "{ programme " + "{ again " * (depth - 2) + "{ name " + "}" * depth


def bomb(levels: int) -> str:
    """Fragments that double at each level."""
    fragments = "".join(f"fragment F{each} on Programme {{ ...F{each + 1} ...F{each + 1} }} " for each in range(levels))
    return f"{{ programme {{ ...F0 }} }} {fragments} fragment F{levels} on Programme {{ name locale }}"


async def test_ten_fields_deep_is_served_and_eleven_is_not(edge: Edge) -> None:
    served = await edge.ask(nested(10))
    refused = await edge.ask(nested(11))

    assert "errors" not in served.json()
    assert codes(refused) == ["QUERY_TOO_DEEP"]
    assert "10" in refused.json()["errors"][0]["message"]


async def test_depth_is_counted_through_fragments(edge: Edge) -> None:
    query = """{ programme { again { again { ...A } } } }
    fragment A on Programme { again { again { again { ... on Programme { ...B } } } } }
    fragment B on Programme { again { again { again { again { name } } } } }"""

    response = await edge.ask(query)

    assert codes(response) == ["QUERY_TOO_DEEP"]


async def test_fifteen_aliases_are_served_and_sixteen_are_not(edge: Edge) -> None:
    def query(count: int) -> str:
        return "{ programme { " + " ".join(f"a{each}: name" for each in range(count)) + " } }"

    assert "errors" not in (await edge.ask(query(15))).json()
    assert codes(await edge.ask(query(16))) == ["TOO_MANY_ALIASES"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (nested(60), "QUERY_TOO_DEEP"),
        ("{ programme " + "{again" * 10_000, "QUERY_TOO_LONG"),
        ("{ programme " + "{again" * 400, "QUERY_TOO_DEEP"),
        ("{ programme(x: " + "[" * 30_000, "QUERY_TOO_LONG"),
        ("{ programme(x: " + "[" * 900, "QUERY_TOO_DEEP"),
        ("{" * 60_000, "QUERY_TOO_LONG"),
        ("{" * 900, "GRAPHQL_PARSE_FAILED"),
        (
            "{ " + " ".join(f"a{each}: __schema {{ types {{ name }} }}" for each in range(1_000)) + " }",
            "QUERY_TOO_LONG",
        ),
        ("{ programme { " + "name " * 1_100 + "} }", "QUERY_TOO_LONG"),
        ("{ programme { " + "name " * 900 + "} }", "TOO_MANY_FIELDS"),
        ("{ programme { name } } #" + "\n#" * 2_000, "QUERY_TOO_LONG"),
        ("{ " + "programme { name } " * 21 + "}", "TOO_MANY_ROOT_FIELDS"),
        (bomb(9), "TOO_MANY_FIELDS"),
        (bomb(60), "TOO_MANY_FIELDS"),
        ("{ programme { ...A } } fragment A on Programme { again { ...A } }", "GRAPHQL_VALIDATION_FAILED"),
        (
            "{ programme { ...A } } fragment A on Programme { ...B } fragment B on Programme { ...A }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
        ("{ programme { ...Missing } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ programme { name " + "@include(if: true) " * 100 + "} }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ " + " ".join(f"a{each}: __typename" for each in range(300)) + " }", "TOO_MANY_ALIASES"),
        (
            "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (f"{{ {'x' * 60_000} }}", "GRAPHQL_VALIDATION_FAILED"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
async def test_what_is_too_large_is_refused_before_anything_is_done(edge: Edge, query: str, code: str) -> None:
    response = await edge.ask(query)

    assert codes(response)[0] == code
    assert DONE.recorded == []


@pytest.mark.parametrize("nested", ["[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900])
async def test_variables_that_are_nested_without_end_are_refused_before_anything_is_done(
    edge: Edge, nested: str
) -> None:
    purchase = (
        '{"member": {"id": "m1"}, "receipt": "R", "total": {"amount": "1", "currency": "EUR"}, '
        f'"idempotencyKey": "key-12345678", "attributes": {nested}}}'
    )
    query = "mutation($i: PurchaseInput!) { recordPurchase(input: $i) { __typename } }"
    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {await edge.partner_token('activity:write')}",
    }

    refused = await edge.client.post(
        "/graphql", content=f'{{"query": "{query}", "variables": {{"i": {purchase}}}}}', headers=headers
    )

    assert (refused.status_code, codes(refused)) == (400, ["BAD_REQUEST"])
    assert "nested" in refused.json()["errors"][0]["message"]
    assert DONE.recorded == []


async def test_the_introspection_of_every_tool_is_served_in_a_sandbox(edge: Edge) -> None:
    from graphql import get_introspection_query  # noqa: PLC0415

    response = await edge.ask(
        get_introspection_query(input_value_deprecation=True, specified_by_url=True, schema_description=True)
    )

    assert "errors" not in response.json()
    assert response.json()["data"]["__schema"]["queryType"]["name"] == "Query"
