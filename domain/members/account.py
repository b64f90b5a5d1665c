"""An account: a member with the wallet as the journal has it, read in one round trip.

The stored total may be behind the journal when a process died between the two; what is missing comes along
in the same read and is folded in.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from domain.ledger.entry import entry_from
from domain.ledger.journal import MAX_FOLD
from domain.ledger.wallet import Wallet, fold, wallet_from
from domain.members.member import Member, member_from, reference_key
from domain.store.collections import JOURNAL, PAYERS, WALLETS
from domain.store.connection import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A member, the wallet after the last entry of his journal, and his stored payer (domain.payments), if any.

    `stored` is the member's document, for readers of what is in it besides the member: consents, an erasure.
    """

    member: Member
    wallet: Wallet
    payer: Mapping[str, Any]
    stored: Mapping[str, Any]


async def account_by_id(store: Store, identifier: str) -> Account | None:
    """The account of that member, whoever asks."""
    return await _account(store, {"_id": identifier})


async def account_by_reference(store: Store, client_id: str, reference: str) -> Account | None:
    """The account of the member whom that partner knows by its own reference."""
    return await _account(store, {"references": reference_key(client_id, reference)})


async def accounts_of(store: Store, identifiers: Iterable[str]) -> dict[str, Account]:
    """The accounts of those members, by id, in one round trip; who is no member is left out."""
    cursor = await store.members.aggregate([{"$match": {"_id": {"$in": list(identifiers)}}}, *_WITH_WALLET])
    return {document["_id"]: _account_from(document) async for document in cursor}


async def _account(store: Store, wanted: Mapping[str, Any]) -> Account | None:
    cursor = await store.members.aggregate([{"$match": wanted}, {"$limit": 1}, *_WITH_WALLET])
    documents = await cursor.to_list()
    return _account_from(documents[0]) if documents else None


def _account_from(document: Mapping[str, Any]) -> Account:
    newer = [entry_from(each) for each in document["newer"]]
    assert len(newer) <= MAX_FOLD, document["_id"]
    total = wallet_from(document["wallet"][0]) if document["wallet"] else Wallet(member=document["_id"])
    return Account(
        member=member_from(document),
        wallet=fold(total, newer),
        payer=next(iter(document["payer"]), {}),
        stored=document,
    )


_WITH_WALLET: list[dict[str, Any]] = [
    {"$lookup": {"from": WALLETS, "localField": "_id", "foreignField": "_id", "as": "wallet"}},
    {"$lookup": {"from": PAYERS, "localField": "_id", "foreignField": "_id", "as": "payer"}},
    {
        "$lookup": {
            "from": JOURNAL,
            "let": {"member": "$_id", "seq": {"$ifNull": [{"$first": "$wallet.seq"}, 0]}},
            "pipeline": [
                {
                    "$match": {
                        "seq": {"$exists": True},
                        "$expr": {"$and": [{"$eq": ["$member", "$$member"]}, {"$gt": ["$seq", "$$seq"]}]},
                    }
                },
                {"$sort": {"seq": 1}},
                {"$limit": MAX_FOLD + 1},
            ],
            "as": "newer",
        }
    },
]
