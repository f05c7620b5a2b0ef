"""Stripe's sample webhooks: signed ones are taken in, whatever they tell; others are refused."""

import time

import pytest

from svc.mesh.clock import new_id
from svc.mesh.contract import RawMessage
from svc.outside.payments import signature
from svc.payment.contract import RECEIVE_WEBHOOK, BadSignature
from svc.platform.installation import ROOT
from tests.payment.support import Shop

SAMPLES = sorted((ROOT.parent / "shared" / "stripe_webhooks").glob("*.json"))
IGNORED = {
    "balance", "checkout", "transfer",
    "charge.captured", "charge.failed", "charge.refund.updated", "charge.succeeded",
    "charge.updated", "payout.created", "payout.updated",
    # Two of the samples have lost the id of their dispute.
    "charge.dispute.closed", "charge.dispute.updated",
}  # fmt: skip
"""What tells nothing that moves a player's money, or nothing that names a payment."""


async def test_every_sample_is_taken_in_once_with_a_good_signature_and_refused_without(
    shop: Shop,
) -> None:
    if not SAMPLES:
        pytest.skip("Stripe's sample webhooks are not beside this checkout")
    secret, became = shop.platform.settings["PAYMENT_WEBHOOK_SECRET"], dict[str, str]()
    for sample in SAMPLES:
        event = f"evt_{new_id()}"
        # The samples share one id, which would make all but the first a repetition.
        body = sample.read_bytes()
        body = body.replace(b'"evt_', f'"{event}_'.encode(), 1)
        at = int(time.time())
        marks = {"good": signature(body, secret, at), "forged": signature(body, secret + "x", at)}
        messages = {
            name: RawMessage(
                body=body, headers={"stripe-signature": f"t={at},v1={mark}"}, url="http://here/"
            )
            for name, mark in marks.items()
        }
        with pytest.raises(BadSignature):
            await shop.operator.call(RECEIVE_WEBHOOK, messages["forged"])
        for _ in range(2):
            await shop.operator.call(RECEIVE_WEBHOOK, messages["good"])
        async with shop.platform.database("payment") as database:
            rows = await database.fetch(
                "SELECT body, state FROM provider_events WHERE event_id LIKE $1", event + "%"
            )
        assert [bytes(row["body"]) for row in rows] == [body], sample.name
        became[sample.stem] = rows[0]["state"]
    ignored = {name for name, state in became.items() if state == "ignored"}
    expected = {name for name in became if name in IGNORED or name.partition(".")[0] in IGNORED}
    assert ignored == expected
    # What names a payment that nobody knows waits for it.
    assert {state for name, state in became.items() if name not in ignored} == {"parked"}
