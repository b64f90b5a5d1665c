"""A short, always equal run of the fuzzer; `make fuzz` is the long one."""

from tests.api.shop import Shop
from tests.fuzz import Author, cast_of, fault_of


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
