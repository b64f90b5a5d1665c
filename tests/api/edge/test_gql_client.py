"""The gql client of PyPI, unmodified: queries and mutations over HTTP, subscriptions over its WebSocket transport."""

from gql import Client, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.websockets import WebsocketsTransport

from tests.api.edge.live import CHANGED, serving
from tests.api.shop import RECORD, Shop, a_purchase


async def test_gql_runs_queries_mutations_and_subscriptions(shop: Shop) -> None:
    member = await shop.enrol()
    phone = {"Authorization": f"Bearer {await shop.member_token(member)}"}
    till = {"Authorization": f"Bearer {await shop.till_token()}"}
    async with serving(shop.app, shop.services.settings) as address:
        http = f"http://{address}/graphql"
        live = WebsocketsTransport(url=f"ws://{address}/graphql/ws", init_payload=phone)
        async with (
            Client(transport=AIOHTTPTransport(url=http, headers=phone), fetch_schema_from_transport=True) as asking,
            Client(transport=AIOHTTPTransport(url=http, headers=till)) as selling,
            Client(transport=live) as listening,
        ):
            me = await asking.execute(gql("{ me { id wallet { version } } }"))
            changed = gql(CHANGED)
            changed.variable_values = {"since": me["me"]["wallet"]["version"]}
            changes = listening.subscribe(changed)
            purchase = gql(RECORD)
            purchase.variable_values = {"input": a_purchase(member, "12.34")}
            recorded = await selling.execute(purchase)
            change = await anext(changes)
            await changes.aclose()

    assert me["me"] == {"id": member, "wallet": {"version": 1}}
    assert recorded["recordPurchase"]["__typename"] == "PurchaseRecorded"
    assert change["walletChanged"]["version"] == 2
    assert change["walletChanged"]["entry"]["points"] == 12
