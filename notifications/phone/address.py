"""Where the phones are found."""

from typing import Final

HOST: Final = "127.0.0.1"
PHONE_PORT: Final = 8085


def phones_url(port: int) -> str:
    """Where phones on the port are found."""
    return f"http://{HOST}:{port}"
