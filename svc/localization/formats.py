"""How a locale writes money, numbers, dates and plurals: facts of the CLDR, through Babel."""

import msgspec
from babel import Locale, UnknownLocaleError, numbers
from msgspec import Struct

from svc.localization.catalogue import is_right_to_left

CURRENCIES = ("EUR", "USD", "GBP", "BRL", "CHF", "PLN", "SEK", "JPY", "BHD")
"""Currencies told in every answer: what players use, and the ones with 0 and 3 digits."""


class CurrencyFormat(Struct, frozen=True, kw_only=True):
    """One currency: `digits` minor-unit digits (ISO 4217), its sign and name in the language."""

    symbol: str
    name: str
    digits: int


class Formats(Struct, frozen=True, kw_only=True):
    """The CLDR facts of a locale that a client formats with; patterns are in CLDR's notation."""

    locale: str
    resolved: str
    rtl: bool
    plural_rules: dict[str, str]
    decimal_symbol: str
    group_symbol: str
    currency_pattern: str
    percent_pattern: str
    date_patterns: dict[str, str]
    time_patterns: dict[str, str]
    date_time_patterns: dict[str, str]
    first_day_of_week: int
    currencies: dict[str, CurrencyFormat]


def facts(locale: str) -> Formats:
    """Return the facts of a normalised locale; those of English where CLDR does not know it.

    `first_day_of_week` is 1 for Monday up to 7 for Sunday, as in ISO 8601.
    """
    try:
        known = Locale.parse(locale, sep="-")
    except UnknownLocaleError:
        known = Locale.parse("en")
    lengths = ("short", "medium", "long")
    return Formats(
        locale=locale,
        resolved=str(known).replace("_", "-"),
        rtl=is_right_to_left(locale),
        plural_rules=dict(known.plural_form.rules),
        decimal_symbol=numbers.get_decimal_symbol(known),
        group_symbol=numbers.get_group_symbol(known),
        currency_pattern=known.currency_formats["standard"].pattern,
        percent_pattern=known.percent_formats[None].pattern,
        date_patterns={length: known.date_formats[length].pattern for length in lengths},
        time_patterns={length: known.time_formats[length].pattern for length in lengths},
        date_time_patterns={length: str(known.datetime_formats[length]) for length in lengths},
        first_day_of_week=known.first_week_day + 1,
        currencies={
            code: CurrencyFormat(
                symbol=numbers.get_currency_symbol(code, known),
                name=numbers.get_currency_name(code, locale=known),
                digits=numbers.get_currency_precision(code),
            )
            for code in CURRENCIES
        },
    )


def encode(formats: Formats) -> bytes:
    """Return the facts as JSON, always the same bytes for the same facts."""
    return msgspec.json.encode(formats, order="sorted")
