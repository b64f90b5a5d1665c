"""`wallet phone`: what comes onto the phones of FCM's stand-in, which is started if it does not run."""

from collections.abc import Collection
from contextlib import ExitStack, suppress

from api.command.screen import SCREEN
from notifications.phone.address import phones_url
from notifications.phone.process import running_phones
from notifications.phone.terminal import watch


def show_phones(port: int, *, endpoints: Collection[str] = ()) -> None:
    """Starts the phones, or joins those on the port, and prints what they show, until Ctrl-C.

    Raises NoPhones where another program has the port, and PhonesFailed.
    """
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        try:
            url = stack.enter_context(running_phones(port))
            SCREEN.print(f"Phones    {url}/  (this address is WALLET_FCM_URL for a sandbox without credentials)")
        except OSError:
            url = phones_url(port)
            SCREEN.print(f"Phones    {url}/  (they were running before)")
        watch(url, SCREEN, endpoints=endpoints)
