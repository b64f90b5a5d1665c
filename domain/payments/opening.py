"""Which payment provider a process uses: Stripe where its key is set, else a sandbox's own, else none."""

from domain.payments.provider import Provider
from domain.payments.sandbox import SandboxProvider
from domain.payments.stripe import StripeProvider
from domain.settings import Settings
from domain.store.clock import Clock
from domain.store.connection import Store


def open_provider(settings: Settings, store: Store, clock: Clock) -> Provider | None:
    """The provider of the settings; None in production without a key, where nobody can top up by card."""
    if settings.stripe_key is not None:
        return StripeProvider(settings)
    return SandboxProvider(store, clock, settings) if settings.sandbox else None
