from tests.ledger.conftest import member, shop, shop_with

__all__ = ("member", "shop", "shop_with")
