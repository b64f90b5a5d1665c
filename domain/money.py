"""Money in minor units inside, decimal strings outside.

An amount is an exact whole number of a currency's minor units (ISO 4217). Nothing here rounds: an
amount that does not fit the currency is refused with an :class:`AmountError` that says why.
"""

import re

from babel.core import get_global

MAX_MINOR = 10**13
"""No single amount is larger, in minor units; sums stay far inside 64 bits and JSON's 2^53."""

_DECIMAL = re.compile(r"(-?)(\d{1,30})(?:\.(\d{1,30}))?", re.ASCII)
_EXPONENTS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW"), 0),
    **dict.fromkeys(("PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
_CODES: frozenset[str] = frozenset(get_global("all_currencies"))


class AmountError(ValueError):
    """An amount or a currency that cannot be taken; its text is fit to be shown to the caller."""


def exponent(currency: str) -> int:
    """How many decimals the currency has (ISO 4217): USD 2, JPY 0, KWD 3.

    Raises :class:`AmountError` for a code that ISO 4217 does not know.
    """
    if currency not in _CODES:
        raise AmountError(f"{currency!r} is not an ISO 4217 currency code, such as EUR.")
    return _EXPONENTS.get(currency, 2)


def to_minor(amount: str, currency: str) -> int:
    """The decimal string in minor units: ``("12.5", "EUR")`` is 1250. Trailing zeros beyond the currency's are fine.

    Raises :class:`AmountError` for what is not a plain decimal, has too many decimals, or is above the limit.
    """
    digits = exponent(currency)
    match = _DECIMAL.fullmatch(amount)
    if match is None:
        raise AmountError(f"{amount!r} is not a plain decimal number, such as 12.50.")
    sign, whole, fraction = match[1], match[2], (match[3] or "").rstrip("0")
    if len(fraction) > digits:
        raise AmountError(f"{currency} has {digits} decimals; {amount} has {len(fraction)}.")
    minor = int(whole + fraction.ljust(digits, "0"))
    if minor > MAX_MINOR:
        raise AmountError(f"{amount} is more than the largest amount taken, {to_decimal(MAX_MINOR, currency)}.")
    return -minor if sign else minor


def to_decimal(minor: int, currency: str) -> str:
    """Minor units as a decimal string with the currency's own number of decimals: ``(1250, "EUR")`` is ``"12.50"``."""
    digits = exponent(currency)
    sign, text = ("-" if minor < 0 else ""), str(abs(minor)).rjust(digits + 1, "0")
    return f"{sign}{text[:-digits]}.{text[-digits:]}" if digits else f"{sign}{text}"
