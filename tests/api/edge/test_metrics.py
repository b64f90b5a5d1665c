"""What /metrics counts: operations by how they ended, refusals by why, what they cost."""

import re

from tests.api.conftest import Edge

LINE = re.compile(r"^(wallet_graphql_\w+(?:\{[^}]*\})?) ([0-9.e+-]+)$", re.MULTILINE)


async def numbers(edge: Edge) -> dict[str, float]:
    told = await edge.client.get("/metrics")
    assert told.headers["content-type"].startswith("text/plain")
    return {name: float(value) for name, value in LINE.findall(told.text)}


async def test_each_operation_is_counted_by_its_end_and_each_refusal_by_its_reason(edge: Edge) -> None:
    token = await edge.member_token()
    before = await numbers(edge)

    await edge.ask("{ programme { name } }")
    await edge.ask("{ programme { name } }")
    await edge.ask('{ voucher(code: "away") }', token=await edge.partner_token("vouchers:use"))
    await edge.ask("{ nothing }")
    await edge.ask("{")
    await edge.ask("{ me { id } }")
    await edge.ask("mutation { adjustBalance }", token=token)
    await edge.ask("{ programme " + "{ again " * 10 + "{ name } }" + " }" * 10)
    await edge.client.post("/graphql", content="{}" * 40_000, headers={"Content-Type": "application/json"})
    await edge.ask("{ programme { name } }", headers={"Authorization": "Basic eA=="})
    after = await numbers(edge)

    risen = {name: after[name] - before.get(name, 0.0) for name in after if after[name] != before.get(name, 0.0)}
    assert {name: value for name, value in risen.items() if "operations_total" in name or "refused_total" in name} == {
        'wallet_graphql_operations_total{kind="query",outcome="data"}': 3,
        'wallet_graphql_operations_total{kind="query",outcome="errors"}': 1,
        'wallet_graphql_operations_total{kind="none",outcome="refused"}': 5,
        'wallet_graphql_refused_total{kind="validation"}': 1,
        'wallet_graphql_refused_total{kind="syntax"}': 1,
        'wallet_graphql_refused_total{kind="access"}': 2,
        'wallet_graphql_refused_total{kind="size"}': 2,
    }
    assert risen["wallet_graphql_cost_count"] == 4
    assert risen["wallet_graphql_cost_sum"] == 4
    assert risen["wallet_graphql_seconds_count"] == 10
    assert risen['wallet_graphql_cost_bucket{le="1.0"}'] == 4
