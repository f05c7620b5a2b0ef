"""The ledger's decisions: operations in order, each on its own, on what a book knows."""

from collections.abc import Sequence

from svc.mesh.context import Context
from svc.mesh.errors import Refused
from svc.wallet import rules
from svc.wallet.book import NOTHING, Book, Record, Wallet
from svc.wallet.contract import Receipt, Rollback
from svc.wallet.operations import VERBS, Close, Credit, Exclude, Operation, fingerprint

Answer = Receipt | Refused
Decided = tuple[Record, Context]
"""A transfer that was decided, and the work that it was decided for."""


def decide(
    operations: Sequence[Operation], contexts: Sequence[Context], book: Book
) -> tuple[list[Answer], list[Decided]]:
    """Return the answers in order, and what was newly decided; the book's wallets move with it.

    The answer of an id is its first decision's for ever, refusals included.
    """
    answers: list[Answer] = []
    decided: list[Decided] = []
    for operation, context in zip(operations, contexts, strict=True):
        if book.unopened and type(operation) is Credit:
            # Whatever comes of the credit: the wallet is on disk already.
            book.open_wallet(operation.user_id)
        mark = fingerprint(operation)
        try:
            record = rules.replay(operation, mark, book)
        except Refused as refusal:
            answers.append(refusal)
            continue
        if record is None:
            record = _decide_new(operation, mark, book, context)
            decided.append((record, context))
            if record.verb == "rollback" and record.outcome == "applied" and not record.user_id:
                decided.append((_tombstone(record), context))
                book.enter(decided[-1][0])
        answers.append(rules.answer(record))
    return answers, decided


def _tombstone(undo: Record) -> Record:
    """Return what a rollback leaves that came before its transfer: under that transfer's id."""
    return Record(transfer_id=undo.original_id or "", verb="rollback", outcome="tombstone")


def _decide_new(operation: Operation, mark: bytes, book: Book, context: Context) -> Record:
    """Decide an operation and enter it into the book."""
    user_id = rules.player_concerned(operation, book)
    wallet = book.wallets.get(user_id) if user_id else None
    if wallet is not None and wallet.excluded_until is not None:
        book.now = context.now()
    try:
        plan = rules.decide(operation, book)
    except Refused as refusal:
        record = _refused(operation, mark, user_id, wallet, refusal)
    else:
        record = _done(operation, mark, user_id, wallet, plan)
    book.enter(record)
    return record


def _done(
    operation: Operation, mark: bytes, user_id: str | None, wallet: Wallet | None, plan: rules.Plan
) -> Record:
    """Move the wallet's money as planned, and return the record that says so."""
    seq = None
    if wallet and plan.outcome == "applied":
        wallet.money += plan.change
        wallet.seq = seq = wallet.seq + 1
        wallet.last_id = operation.transfer_id
        if type(operation) is Close:
            wallet.closed = True
        elif type(operation) is Exclude:
            wallet.exclude(operation.until)
    return Record(
        transfer_id=operation.transfer_id,
        verb=VERBS[type(operation)],
        outcome=plan.outcome,
        fingerprint=mark,
        user_id=user_id,
        currency=wallet.currency if wallet else None,
        kind=plan.kind,
        reference=plan.reference,
        change=plan.change,
        after=wallet.money if wallet else NOTHING,
        seq=seq,
        won_from_play=plan.won_from_play,
        hold_id=plan.hold_id,
        stake_id=plan.stake_id,
        original_id=operation.original_transfer_id if type(operation) is Rollback else None,
    )


def _refused(
    operation: Operation, mark: bytes, user_id: str | None, wallet: Wallet | None, refusal: Refused
) -> Record:
    """Return the record of an operation that a rule said no to: what was asked, and why not."""
    return Record(
        transfer_id=operation.transfer_id,
        verb=VERBS[type(operation)],
        outcome="refused",
        fingerprint=mark,
        user_id=user_id,
        currency=wallet.currency if wallet else None,
        kind=getattr(operation, "kind", None),
        reference=getattr(operation, "reference", None),
        after=wallet.money if wallet else NOTHING,
        refusal=refusal.name,
        detail=refusal.detail,
        hold_id=getattr(operation, "hold_id", None),
        stake_id=getattr(operation, "stake_transfer_id", None),
        original_id=getattr(operation, "original_transfer_id", None),
    )
