"""What may stand in the bucket of policies, and which of several counts for a call."""

from datetime import UTC, datetime, timedelta

import pytest

from svc import catalogue
from svc.generate.topology import STAFF, Topology
from svc.mesh.errors import DeclarationError, Invalid
from svc.mesh.policy_releases import answered, release_of, release_subject
from svc.mesh.policy_rules import Canary, Fault, Limit, of_edge, read, scope_of
from svc.platform.errors import PlatformError
from svc.platform.policy import lasting
from svc.platform.policy_routes import mappings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SOON = NOW + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("key", "body", "said"),
    [
        ("fault.all.wallet", b"{}", "no key of a policy"),
        ("colour.all.wallet.all", b"{}", "no key of a policy"),
        ("canary.casino.wallet.all", b"{}", "all callers"),
        ("canary.all.wallet.all", b"", "truncated"),
        ("canary.all.wallet.all", b'{"release": "blue", "percent": 0}', "percent"),
        ("canary.all.wallet.all", b'{"release": "blue", "percent": 10.5}', "percent"),
        ("canary.all.wallet.all", b'{"release": "*", "percent": 10}', "release"),
        ("canary.all.wallet.all", b'{"release": "stable", "percent": 10}', "stable"),
        ("canary.all.wallet.all", b'{"release": "shadow", "percent": 10}', "shadow"),
        ("mirror.all.wallet.all", b'{"percent": 1, "more": 1}', "more"),
        ("fault.all.wallet.all", b'{"percent": 5, "abort": "internal"}', "until"),
        ("fault.all.wallet.all", b'{"percent": 5, "until": "2026-11-22T12:00:00Z"}', "delays"),
        (
            "fault.all.wallet.all",
            b'{"percent": 5, "until": "2026-11-22T12:00:00", "delay_ms": 5}',
            "until",
        ),
        (
            "fault.all.wallet.all",
            b'{"percent": 5, "until": "2026-11-22T12:00:00Z", "abort": "melt"}',
            "abort",
        ),
        ("limit.all.wallet.all", b"{}", "timeout_ms, in_flight or both"),
        ("limit.all.wallet.all", b'{"timeout_ms": 0}', "timeout_ms"),
        ("limit.all.wallet.all", b"[" * 5_000, "limit.all.wallet.all"),
        ("limit.all.wallet.all", b"\xff", "limit.all.wallet.all"),
    ],
)
def test_what_is_not_valid_is_refused_with_its_reason(key: str, body: bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        read(key, body)


def test_the_closest_policy_of_each_kind_counts() -> None:
    known = {
        scope_of("limit.all.wallet.all"): Limit(timeout_ms=1),
        scope_of("limit.casino.wallet.all"): Limit(timeout_ms=2),
        scope_of("limit.all.wallet.balance"): Limit(timeout_ms=3),
        scope_of("limit.casino.wallet.balance"): Limit(timeout_ms=4),
        scope_of("fault.payment.wallet.all"): Fault(percent=1, until=SOON, delay_ms=5),
    }

    def timeout(caller: str, verb: str, callee: str = "wallet") -> int | None:
        limit = of_edge(known, caller, callee, verb, NOW).get("limit")
        return limit.timeout_ms if isinstance(limit, Limit) else None

    assert timeout("gateway", "audit") == 1
    assert timeout("casino", "audit") == 2
    assert timeout("gateway", "balance") == 3
    assert timeout("casino", "balance") == 4
    assert timeout("casino", "balance", "identity") is None
    assert "fault" not in of_edge(known, "casino", "wallet", "audit", NOW)
    assert "fault" in of_edge(known, "payment", "wallet", "audit", NOW)


def test_a_fault_counts_until_its_instant_and_not_at_it() -> None:
    known = {scope_of("fault.all.wallet.all"): Fault(percent=1, until=SOON, abort="timeout")}

    assert of_edge(known, "casino", "wallet", "x", SOON - timedelta(microseconds=1))
    assert not of_edge(known, "casino", "wallet", "x", SOON)


def test_a_canary_becomes_one_line_of_the_brokers_mapping() -> None:
    whole = {scope_of("canary.all.wallet.all"): Canary(release="blue", percent=10)}
    one = {scope_of("canary.all.wallet.balance"): Canary(release="blue", percent=100)}

    assert mappings({}).endswith("mappings {\n}\n")  # without it a reload keeps the last ones
    assert '"rpc.wallet.*.*": [' in mappings(whole)
    assert (
        '{ destination: "release.wallet.{{wildcard(1)}}.blue.{{wildcard(2)}}", weight: 10% }'
        in mappings(whole)
    )
    assert '"rpc.wallet.*.balance": [' in mappings(one)
    assert (
        '{ destination: "release.wallet.{{wildcard(1)}}.blue.balance", weight: 100% }'
        in mappings(one)
    )
    with pytest.raises(PlatformError, match="as a whole"):
        mappings({**whole, **one})


def test_an_instance_answers_where_its_release_is_asked() -> None:
    plain = "rpc.wallet.v1.balance"

    assert release_of({}, "wallet") == "stable"
    assert answered(plain, "stable") == [plain, "release.wallet.v1.stable.balance"]
    assert answered(plain, "blue") == ["release.wallet.v1.blue.balance"]
    assert release_subject("rpc.mesh.v1.wallet.dead_list", "blue") == ""
    with pytest.raises(DeclarationError, match="WALLET_RELEASE"):
        release_of({"WALLET_RELEASE": "v2.*"}, "wallet")


@pytest.mark.parametrize("text", ["", "5", "0s", "-5m", "5 m", "25h", "999999h", "1d"])
def test_a_fault_without_an_end_within_a_day_is_refused(text: str) -> None:
    with pytest.raises(PlatformError, match="no time for a fault"):
        lasting(text)


def test_every_service_may_read_the_policies_and_only_the_operator_may_write_them() -> None:
    topology = Topology(catalogue.services())
    users = {s.name: topology.permissions(s) for s in topology.services} | STAFF
    writers = {
        name
        for name, permissions in users.items()
        if any(subject.startswith("$KV.mesh_policy") for subject in permissions.publish)
    }
    readers = {
        name
        for name, permissions in users.items()
        if "$JS.API.CONSUMER.CREATE.KV_mesh_policy.>" in permissions.publish
    }

    assert writers == {"operator"}
    assert readers == set(catalogue.NAMES)
