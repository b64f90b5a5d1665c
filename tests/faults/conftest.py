from tests.ledger.conftest import shop_with

__all__ = ("shop_with",)
