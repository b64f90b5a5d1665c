"""`wallet reconcile` as a process: what it prints, and its exit code."""

import pytest

from tests.api.shop import Shop
from tests.payments.member import top_up
from tests.wallet_command import WalletCommand


@pytest.fixture
def wallet(shop: Shop) -> WalletCommand:
    """The command on the database of the shop."""
    settings = shop.services.settings
    assert settings.mongodb_url is not None
    return WalletCommand(
        variables={
            "WALLET_MODE": "sandbox",
            "WALLET_MONGODB_URL": settings.mongodb_url,
            "WALLET_DATABASE": settings.database,
        }
    )


async def test_both_sides_agree_until_one_of_them_has_more(shop: Shop, wallet: WalletCommand) -> None:
    member = await shop.enrol()
    entry = await top_up(shop, member)
    days = ("reconcile", "--from", "2026-07-06", "--to", "2026-07-07")

    agreed = wallet.run(*days)
    intent = entry.key.partition("|")[2]
    await shop.services.store.sandbox_payments.update_one({"_id": intent}, {"$set": {"amount_minor": 21_00}})
    differing = wallet.run(*days)
    another_day = wallet.run("reconcile", "--from", "2026-07-07", "--to", "2026-07-08")

    assert (agreed.returncode, agreed.stdout) == (0, "1 payments and 0 refunds agree; 0 differences.\n")
    assert differing.returncode == 1
    assert f"{intent}: The provider was paid 21.00 USD; entry {entry.id} has 20.00 USD." in differing.stdout
    assert another_day.returncode == 0


def test_days_that_are_none_are_named(wallet: WalletCommand) -> None:
    answered = wallet.run("reconcile", "--from", "yesterday", "--to", "2026-07-07")
    reversed_ = wallet.run("reconcile", "--from", "2026-07-07", "--to", "2026-07-07")

    assert (answered.returncode, reversed_.returncode) == (2, 2)
    assert "--from is 'yesterday'; it should be a day such as 2026-11-22" in answered.stderr
    assert "--to is 2026-07-07; it should be after --from" in reversed_.stderr


def test_production_without_a_provider_has_nothing_to_compare(wallet: WalletCommand) -> None:
    production = {"WALLET_MODE": "production", "WALLET_SECRET": "x" * 40, "WALLET_PUBLIC_URL": "https://w.example"}

    answered = wallet.run("reconcile", "--from", "2026-07-06", "--to", "2026-07-07", **production)

    assert answered.returncode == 2
    assert "WALLET_STRIPE_KEY is missing" in answered.stderr
