"""Every event that is worth a message has its texts, with just the values that it brings."""

from typing import Any, get_args, get_type_hints

import pytest

from svc.casino import contract as casino
from svc.gaming import contract as gaming
from svc.identity import contract as identity
from svc.localization.catalogue import load
from svc.localization.rules import placeholders
from svc.marketing import contract as marketing
from svc.mesh.clock import SystemClock, new_id
from svc.notification.contract import NOTIFICATION_REQUESTED
from svc.notification.notices import NOTICES, Notice
from svc.notification.service import EVENTS, notification
from svc.sportsbook import contract as sportsbook

TEXTS = load().bundles["notification"]["en"]
EVENT_OF = {event.type: event for event in EVENTS}
SPECIAL: dict[str, list[dict[str, object]]] = {
    "KycChangedEvent": [{"status": status} for status in get_args(identity.KycStatus)],
    "SelfExcludedEvent": [{"time_out": True}, {"time_out": False}],
    "BetSettledEvent": [{"result": result} for result in get_args(sportsbook.BetResult)],
    "BonusAwardedEvent": [{"kind": kind} for kind in get_args(marketing.BonusKind)],
    "BonusExpiredEvent": [{"forfeited": True}, {"forfeited": False}],
    "DisputeClosedEvent": [{"won": True}, {"won": False}],
    "PrizeAwardedEvent": [{"kind": kind} for kind in get_args(gaming.PrizeKind)],
    "CasinoPayoutCompleteEvent": [{"payout": 0}, {"payout": 5}],
    "ProfileUpdatedEvent": [{"changed": ["phone"]}, {"changed": ["locale"]}],
}


def sample(data: type[Any], /, **given: object) -> Any:
    """Make the data of an event: whatever fits each field."""
    made: dict[str, object] = {}
    for name, hint in get_type_hints(data).items():
        plain: dict[object, object] = {int: 7, str: "x", bool: True, list[str]: []}
        is_instant = name in {"until", "effective_at", "expires_at"}
        made[name] = SystemClock().now() if is_instant else plain.get(hint, new_id())
    return data(**{**made, **given})


CASES = [
    (kind, special)
    for kind in NOTICES
    if kind != NOTIFICATION_REQUESTED.type
    for special in SPECIAL.get(kind, [{}])
]


@pytest.mark.parametrize(("kind", "special"), CASES)
def test_the_texts_of_a_message_use_what_its_event_brings(
    kind: str, special: dict[str, object]
) -> None:
    notice: Notice | None = NOTICES[kind](sample(EVENT_OF[kind].data, **special))
    if notice is None:
        assert special in ({"status": "none"}, {"payout": 0}, {"changed": ["locale"]})
        return
    used = placeholders(TEXTS[f"{notice.template}.title"]) | placeholders(
        TEXTS[f"{notice.template}.text"]
    )
    assert used <= notice.arguments.keys()
    assert "in_app" in notice.channels


def test_every_text_belongs_to_some_event() -> None:
    used = {"security_alert", "one_time_code", "reality_check"}  # asked for by identity
    for kind, special in CASES:
        notice = NOTICES[kind](sample(EVENT_OF[kind].data, **special))
        used |= {notice.template} if notice else set()
    assert used == {key.rpartition(".")[0] for key in TEXTS}


def test_sms_leave_only_where_the_diagram_names_them() -> None:
    with_sms: set[str] = set()
    for kind, special in CASES:
        notice = NOTICES[kind](sample(EVENT_OF[kind].data, **special))
        if notice and "sms" in notice.channels:
            with_sms.add(notice.template)
    assert with_sms == {"welcome", "bet_placed", "deposit_succeeded", "casino_payout"}


def test_it_hears_every_event_of_all_nine_topics_and_tells_nobody_of_its_own_facts() -> None:
    assert {event.topic for event in EVENTS} == {
        "user", "betting", "payment", "marketing", "gaming", "casino", "notification", "wallet",
        "scheduler",
    }  # fmt: skip
    silent = {hear.event.type for hear in notification.hears_events if hear.only}
    assert {"NotificationSentEvent", "NotificationDeliveredEvent", "NotificationFailedEvent"} <= (
        silent
    )
    assert not silent & NOTICES.keys()
    assert casino.CASINO_BET_PLACED.type in silent
