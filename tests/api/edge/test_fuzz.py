"""A short, always equal run of the fuzzer; `make fuzz` is the long one."""

from tests.api.shop import Shop
from tests.fuzz import Author, cast_of, fault_of, fault_of_events, fault_of_socket


async def test_five_hundred_documents_drawn_from_the_schema_are_answered_well(shop: Shop) -> None:
    identifiers, tokens = await cast_of(shop)
    author = Author(1, identifiers)

    requests = [author.request() for _ in range(500)]
    faults = [
        (fault, request)
        for request in requests
        if (fault := await fault_of(shop, request, author.random.choice(tokens)))
    ]

    assert faults == []


async def test_subscriptions_drawn_from_the_schema_are_answered_well_over_both_transports(shop: Shop) -> None:
    identifiers, tokens = await cast_of(shop)
    author = Author(2, identifiers)

    said = [(author.subscription(), author.messages(), author.random.choice(tokens)) for _ in range(25)]
    faults = [
        fault
        for request, messages, token in said
        for fault in (await fault_of_events(shop, request, token), await fault_of_socket(shop, messages, token))
        if fault is not None
    ]

    assert faults == []
