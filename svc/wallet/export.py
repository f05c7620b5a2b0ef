"""A statement as a file: lines of CSV (RFC 4180) that a spreadsheet reads as data alone."""

import csv
import io
from collections.abc import Iterable, Mapping

from svc.wallet.statements import Line

COLUMNS = (
    "at", "entry_id", "transfer_id", "account", "kind", "title", "reference", "amount",
    "balance_after", "currency",
)  # fmt: skip
"""Amounts are in minor units, negative where money left; times are RFC 3339 in UTC."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell of text that begins so would be worked out by a spreadsheet: OWASP's CSV injection."""


def csv_of(lines: Iterable[Line], titles: Mapping[str, str], *, header: bool) -> str:
    """Return entries as CSV, with the line of column names if it is the first page."""
    file = io.StringIO()
    writer = csv.writer(file)
    if header:
        writer.writerow(COLUMNS)
    for line in lines:
        writer.writerow((
            line.at.isoformat().replace("+00:00", "Z"), line.entry_id, line.transfer_id,
            line.account, line.kind, plain(titles[line.kind]), plain(line.reference), line.amount,
            line.balance_after, line.currency,
        ))  # fmt: skip
    return file.getvalue()


def plain(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text
