from tests.ledger.conftest import shop_with
from tests.notifications.conftest import phones, running_phones

__all__ = ("phones", "running_phones", "shop_with")
