"""A grant: the scopes that a member gave a partner app when he let it in, until he takes them back (SEMANTICS §9.2)."""

from domain.store.connection import Store


async def grants_scope(store: Store, member: str, *, client_id: str, scope: str) -> bool:
    """Whether the member gave that partner that scope."""
    return await store.grants.find_one({"_id": grant_id(member, client_id), "scopes": scope}) is not None


def grant_id(member: str, client_id: str) -> str:
    """The id of the one grant that a member can give a partner."""
    return f"{member}|{client_id}"
