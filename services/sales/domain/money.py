"""Amounts, exact to the currency's minor unit."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Context, Decimal

MOST = Decimal(10) ** 13
"""No amount or total reaches this: above it, a column with four decimals could not hold every sum."""

_NO_DECIMALS = frozenset({
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF",
    "XPF",
})
_THREE_DECIMALS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})
_EXACT = Context(prec=60, rounding=ROUND_HALF_UP)
"""Wide enough for every product of two columns, so that nothing is rounded but where this module says so."""


def minor_unit(currency: str) -> Decimal:
    """Return the smallest amount of a currency: 0.01, 1 for JPY, 0.001 for KWD (ISO 4217, column "minor unit")."""
    if currency in _NO_DECIMALS:
        return Decimal(1)
    return Decimal("0.001") if currency in _THREE_DECIMALS else Decimal("0.01")


def amount(quantity: Decimal, unit_price: Decimal, currency: str) -> Decimal:
    """Return what a line costs: quantity × unit price, rounded half up to the currency's minor unit.

    Half up, as an invoice does it (0.005 becomes 0.01), not half to even.
    """
    return _EXACT.multiply(quantity, unit_price).quantize(minor_unit(currency), context=_EXACT)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the exact sum of line amounts: each is rounded already, so the sum needs no rounding."""
    result = Decimal(0)
    for each in amounts:
        result = _EXACT.add(result, each)
    return result
