"""What operations cost, and that nobody gets more than his bucket holds."""

import pytest
from graphql import FragmentDefinitionNode, OperationDefinitionNode, parse

from api.edge.cost import price_of
from api.schema import build_schema
from domain.partners.partner import set_allowance
from domain.store.buckets import Allowance
from tests.api.shop import Shop, codes, data

SCHEMA = build_schema(sandbox=True)._schema
RICH = "nodes { id place { id } balanceAfter { points } awards { tier } }"
THOUSAND = f"""{{ me {{ wallet {{
  a: activity(first: 100) {{ {RICH} }} b: activity(first: 100) {{ {RICH} }}
  c: activity(first: 96) {{ nodes {{ place {{ id }} }} }}
}} }} }}"""


@pytest.mark.parametrize(
    ("text", "variables", "cost"),
    [
        ("{ __typename }", {}, 1),
        ("{ me { id } }", {}, 1),
        ("{ me { tier { tier { name } } wallet { points { available } } } }", {}, 5),
        ("{ me { wallet { activity { nodes { id } } } } }", {}, 1 + 1 + 2 + 20),
        ("{ me { wallet { activity(first: 7) { edges { cursor node { id place { id } } } } } } }", {}, 4 + 7 * 2),
        ("query($n: Int = 7) { me { rewards(first: $n) { nodes { id } pageInfo { endCursor } } } }", {}, 1 + 2 + 7),
        ("query($n: Int = 7) { me { rewards(first: $n) { nodes { id } } } }", {"n": 30}, 1 + 2 + 30),
        ("{ me { ...A ...A } } fragment A on Member { wallet { version } }", {}, 3),
        ("mutation { sandboxStaffToken(scopes: []) }", {}, 10),
        ('mutation { signOut(refreshToken: "x") { __typename } }', {}, 10),
        (
            "mutation($i: [PurchaseInput!]!) {recordPurchases(inputs: $i) { ...on PurchaseRecorded {entry {id}} } }",
            {"i": [{}] * 100},
            10 + 100 * 2,
        ),
        ("{ __schema { types { name } } }", {}, 100),
        (THOUSAND, {}, 1_000),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else None,
)
def test_an_operation_costs(text: str, variables: dict[str, object], cost: int) -> None:
    document = parse(text)
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    (operation,) = (each for each in document.definitions if isinstance(each, OperationDefinitionNode))

    assert price_of(SCHEMA, operation, fragments).of(variables) == cost


@pytest.mark.parametrize(
    ("text", "least"),
    [
        (THOUSAND, 1_000),
        ("query($n: Int = 7) { me { rewards(first: $n) { nodes { id } } wallet { version } } }", 1 + 2 + 1),
        ("{ me { ...Unknown nothing { at { all } } ... on Nobody { id } } }", 1),
        ("{ me { ...F0 } } " + "".join(f"fragment F{n} on Member {{ ...F{n + 1} ...F{n + 1} }}" for n in range(50)), 1),
    ],
    ids=["no sizes", "sizes as variables", "unknown names", "an empty bomb"],
)
def test_what_it_costs_at_least_is_known_before_the_document_is_validated(text: str, least: int) -> None:
    document = parse(text)
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    (operation,) = (each for each in document.definitions if isinstance(each, OperationDefinitionNode))

    assert price_of(SCHEMA, operation, fragments).least == least


@pytest.mark.parametrize(
    "text",
    [
        "{ me { ...A } } fragment A on Member { wallet { version } ...B } fragment B on Member { ...A }",
        "fragment F0 on Member { id ...F1 ...F1 } fragment F1 on Member { ...F0 ...F0 } { me { ...F1 } }",
        "{ me { ...A } } fragment A on Member { ...A nothing }",
    ],
)
async def test_a_cycle_of_fragments_has_no_price_and_is_named(shop: Shop, text: str) -> None:
    refused = await shop.ask(text, token=await shop.member_token(await shop.enrol()))

    assert set(codes(refused)) == {"GRAPHQL_VALIDATION_FAILED"}
    assert refused["errors"][0]["message"].startswith("Cannot spread fragment")


async def test_a_page_of_any_size_is_refused_by_its_cost(shop: Shop) -> None:
    token = await shop.member_token(await shop.enrol())
    pages = " ".join(f"p{number}: rewards(first: $n) {{ nodes {{ id }} }}" for number in range(15))

    for size in (2**31, 2**53, 2**63, 2**64 - 1):
        refused = await shop.ask(f"query($n: Int!) {{ me {{ {pages} }} }}", {"n": size}, token=token)

        assert codes(refused) == ["QUERY_TOO_COSTLY"]
        assert 1_000 < refused["errors"][0]["extensions"]["cost"] < 2**53


async def test_of_two_operations_the_one_that_is_not_too_dear_runs(shop: Shop) -> None:
    both = f"query Dear {THOUSAND.replace('me {', 'me { referral { code }', 1)} query Cheap {{ programme {{ name }} }}"
    token = await shop.member_token(await shop.enrol())

    answers = []
    for name in ("Cheap", "Dear"):
        body = {"query": both, "operationName": name}
        answers.append(
            (await shop.http.post("/graphql", json=body, headers={"Authorization": f"Bearer {token}"})).json()
        )

    assert answers[0]["data"]["programme"]["name"]
    assert codes(answers[1]) == ["QUERY_TOO_COSTLY"]


async def test_a_thousand_is_served_with_its_cost_and_one_more_is_refused(shop: Shop) -> None:
    member = await shop.enrol()
    dearer = THOUSAND.replace("me {", "me { referral { code }", 1)

    token = await shop.member_token(member)
    refused = await shop.ask(dearer, token=token)
    served = await shop.ask(THOUSAND, token=await shop.member_token(await shop.enrol()))

    assert served["extensions"] == {"cost": 1_000}
    assert codes(refused) == ["QUERY_TOO_COSTLY"]
    assert refused["errors"][0]["extensions"]["cost"] == 1_001


async def test_a_member_who_spent_his_bucket_is_told_when_to_come_back_and_others_are_served(shop: Shop) -> None:
    member, other = await shop.enrol(), await shop.enrol()
    token = await shop.member_token(member)
    headers = {"Authorization": f"Bearer {token}"}
    body = {"query": "{ me { wallet { activity(first: 94) { nodes { id } } } } }"}

    answers = [await shop.http.post("/graphql", json=body, headers=headers) for _ in range(14)]
    refused = answers[-1]

    # 98 each, 5 for a new document, and what a second or so gives back.
    assert 10 <= [each.status_code for each in answers].count(200) <= 13
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert codes(refused.json()) == ["RATE_LIMITED"]
    assert data(await shop.ask("{ me { id } }", token=await shop.member_token(other))) == {"me": {"id": other}}


async def test_what_is_refused_costs_as_well(shop: Shop) -> None:
    token = await shop.member_token(await shop.enrol())

    answers = [await shop.ask("{ nothing }", token=token) for _ in range(120)]

    assert codes(answers[0]) == ["GRAPHQL_VALIDATION_FAILED"]
    assert codes(answers[-1]) == ["RATE_LIMITED"]


async def test_a_partner_whose_bucket_was_set_has_that_one(shop: Shop) -> None:
    body = {"query": "{ partner { id } }"}
    await set_allowance(shop.services.store, shop.till_id, Allowance(capacity=1_000, refill_per_second=1))
    shop.services.tokens.forget_partner(shop.till_id)

    headers = {"Authorization": f"Bearer {await shop.till_token()}"}
    await shop.http.post("/graphql", json=body, headers=headers)
    key = f"partner:{shop.till_id}"
    allowance = shop.services.tokens.allowance_of(shop.till_id)
    assert allowance is not None
    shop.services.buckets.debit(key, allowance, cost=1_000)
    refused = await shop.http.post("/graphql", json=body, headers=headers)

    assert allowance == Allowance(capacity=1_000, refill_per_second=1)
    assert codes(refused.json()) == ["RATE_LIMITED"]
