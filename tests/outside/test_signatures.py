"""Random bodies: our signatures are those of Stripe's and Twilio's own libraries, both ways."""

import pytest
import stripe
from hypothesis import given, settings, strategies as st
from twilio.request_validator import RequestValidator

from svc.notification import rules as notification
from svc.outside import payments, sms_provider
from svc.payment import rules
from svc.payment.contract import BadSignature

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
SECRET = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
# What a form carries: names once each, as Twilio sends them.
FORM = st.dictionaries(TEXT.filter(bool), TEXT, max_size=8)
PATH = st.from_regex(r"[a-z0-9/_-]{0,20}(\?[a-z]=[a-z0-9]{1,9})?", fullmatch=True)
URL = PATH.map("https://bets.example.com/{}".format)
SOME = settings(max_examples=50)


def stripes_own(body: bytes, secret: str, at: int) -> str:
    compute = stripe.WebhookSignature._compute_signature  # pyright: ignore[reportPrivateUsage] -- the oracle
    return compute(f"{at}.{body.decode()}", secret)


@SOME
@given(body=TEXT.map(str.encode), secret=SECRET, at=st.integers(1, 4_000_000_000))
def test_stripes_library_and_ours_sign_any_body_alike(body: bytes, secret: str, at: int) -> None:
    mark = stripes_own(body, secret, at)
    assert payments.signature(body, secret, at) == mark
    rules.check_signature(f"t={at},v1={mark}", body, (secret,), at)


@SOME
@given(
    body=TEXT.map(str.encode), secret=SECRET, away=st.integers(-600, 600),
    forged=st.booleans(), spoilt=st.booleans(),
)  # fmt: skip
def test_what_stripes_library_refuses_we_refuse_too(
    body: bytes, secret: str, away: int, forged: bool, spoilt: bool
) -> None:
    now = 1_700_000_000
    mark = stripes_own(body, secret + "x" if forged else secret, now + away)
    header, sent = f"t={now + away},v1={mark}", body + b" " if spoilt else body
    holds = not forged and not spoilt and abs(away) <= rules.TOLERANCE_S
    try:
        stripe.WebhookSignature.verify_header(sent.decode(), header, secret, None)
    except stripe.SignatureVerificationError:
        assert not holds
    if holds:
        rules.check_signature(header, sent, (secret,), now)
        return
    with pytest.raises(BadSignature):
        rules.check_signature(header, sent, (secret,), now)


@SOME
@given(url=URL, form=FORM, token=SECRET)
def test_twilios_library_and_ours_sign_any_form_alike(
    url: str, form: dict[str, str], token: str
) -> None:
    mark = RequestValidator(token).compute_signature(url, form)
    assert sms_provider.signature(url, form, token) == mark
    assert notification.signature(token, url, form.items()) == mark
    assert RequestValidator(token).validate(url, form, mark)
