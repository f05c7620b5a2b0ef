"""Writes `jetstream/`: streams, consumers and buckets in the server's own JSON, and nats.conf."""

import json
from typing import Any

from svc.generate.topology import DEAD_STREAM, STAFF, Permissions, Topology
from svc.mesh.policy_rules import AUDIT_STREAM, BUCKET

DAY_NS = 86_400 * 1_000_000_000
SECOND_NS = 1_000_000_000
EVENTS_KEPT_DAYS = 30
DEAD_KEPT_DAYS = 365
DUPLICATE_WINDOW_S = 600
"""Longer than any relay needs to send an event again after a crash."""
ACK_WAIT_S = 10
"""How long what a killed instance held stays with it; the living say that they are at work."""
ACK_PENDING_MAX = 1_000
BUCKET_BYTES_MAX = 64 * 1024 * 1024
POLICY_BYTES_MAX = 16 * 1024 * 1024
BUCKET_BYTES = {"wallet": 512 * 1024 * 1024}
"""The wallet shows the balance of each player: a million of them, of at most 400 bytes each."""


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def stream(name: str, subjects: list[str], description: str, kept_days: int) -> dict[str, Any]:
    """Return the configuration of a stream."""
    return {
        "name": name,
        "description": description,
        "subjects": subjects,
        "storage": "file",
        "retention": "limits",
        "discard": "old",
        "max_age": kept_days * DAY_NS,
        "duplicate_window": DUPLICATE_WINDOW_S * SECOND_NS,
        "allow_direct": True,
        # Outboxes publish many events with one acknowledgement.
        "allow_batched": True,
        "num_replicas": 1,
    }


def bucket(name: str) -> dict[str, Any]:
    """Return the stream configuration behind a KV bucket, as the clients expect it."""
    return {
        "name": f"KV_{name}",
        "description": f"The cache of {name}: never the truth.",
        "subjects": [f"$KV.{name}.>"],
        "storage": "file",
        "max_msgs_per_subject": 1,
        "max_bytes": BUCKET_BYTES.get(name, BUCKET_BYTES_MAX),
        "discard": "new",
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_direct": True,
        "allow_msg_ttl": True,
        "num_replicas": 1,
    }


def policy_bucket() -> dict[str, Any]:
    """Return the stream behind the bucket of routing policy.

    It keeps each key's last 64 values, so that the audit stream, which the broker fills, misses
    none. Nothing in it ends by itself or is rolled up, for that could not be seen there.
    """
    return {
        "name": f"KV_{BUCKET}",
        "description": "Routing policy: canaries, mirrors, faults, limits (just policy).",
        "subjects": [f"$KV.{BUCKET}.>"],
        "storage": "file",
        "max_msgs_per_subject": 64,
        "max_msg_size": 4096,
        "max_bytes": POLICY_BYTES_MAX,
        "discard": "new",
        "deny_delete": True,
        "allow_direct": True,
        "num_replicas": 1,
    }


def policy_audit() -> dict[str, Any]:
    """Return the stream of every change of policy: written by the broker, by nobody else."""
    return {
        "name": AUDIT_STREAM,
        "description": "Every change of routing policy; it can only be read.",
        "sources": [{"name": f"KV_{BUCKET}"}],
        "storage": "file",
        "retention": "limits",
        "deny_delete": True,
        "deny_purge": True,
        "allow_direct": True,
        "num_replicas": 1,
    }


def consumer(stream_name: str, durable: str, lane: str, subjects: list[str]) -> dict[str, Any]:
    """Return the configuration of a durable pull consumer.

    Redelivery has no limit here: the mesh counts attempts and parks the event itself, so that a
    crash at the last attempt cannot leave an event that nobody delivers any more.
    """
    return {
        "stream_name": stream_name,
        "config": {
            "durable_name": durable,
            "description": f"What {durable} hears of {stream_name.lower()}; lane {lane}.",
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": ACK_WAIT_S * SECOND_NS,
            "max_deliver": -1,
            "max_ack_pending": ACK_PENDING_MAX,
            "replay_policy": "instant",
            "filter_subjects": subjects,
        },
    }


def broker_files(topology: Topology) -> dict[str, str]:
    """Return every file of `jetstream/` by its path in the checkout."""
    files: dict[str, str] = {}
    for topic in topology.topics():
        name = topic.upper()
        config = stream(name, [f"{topic}.events.>"], f"The topic {topic}.events.", EVENTS_KEPT_DAYS)
        files[f"jetstream/streams/{name}.json"] = _json(config)
    dead = stream(DEAD_STREAM, ["dead.>"], "Events that could not be worked on.", DEAD_KEPT_DAYS)
    # Each letter has its own subject: parked again it replaces itself, settled it leaves a note.
    dead |= {"allow_rollup_hdrs": True, "allow_msg_ttl": True}
    files[f"jetstream/streams/{DEAD_STREAM}.json"] = _json(dead)
    files[f"jetstream/buckets/{BUCKET}.json"] = _json(policy_bucket())
    files[f"jetstream/streams/{AUDIT_STREAM}.json"] = _json(policy_audit())
    for service in topology.services:
        for stream_name, subjects in topology.heard_subjects(service).items():
            lane = next(
                service.lane_of(h.event).value
                for h in service.hears_events
                if h.event.stream == stream_name
            )
            body = consumer(stream_name, service.name, lane, subjects)
            files[f"jetstream/consumers/{stream_name}.{service.name}.json"] = _json(body)
        if service.cache:
            files[f"jetstream/buckets/{service.name}.json"] = _json(bucket(service.name))
        for config in service.extras.streams:
            files[f"jetstream/streams/{config['name']}.json"] = _json(config)
        for body in service.extras.consumers:
            durable = body["config"]["durable_name"]
            files[f"jetstream/consumers/{body['stream_name']}.{durable}.json"] = _json(body)
    files["jetstream/nats.conf"] = nats_conf(topology)
    return files


def nats_conf(topology: Topology) -> str:
    """Return the users of the broker, each with exactly the subjects that it declared."""
    users = {service.name: topology.permissions(service) for service in topology.services}
    blocks = [_user(name, permissions) for name, permissions in {**users, **STAFF}.items()]
    return (
        "# Generated from the services' declarations by `just generate`; do not edit.\n"
        "# The public keys are variables, made at first start and defined before this file is\n"
        "# included. Replies are guarded by one inbox prefix per service, not by\n"
        "# allow_responses: a reload of this file would wipe outstanding grants.\n"
        "authorization {\n  users = [\n" + ",\n".join(blocks) + "\n  ]\n}\n"
    )


def _user(name: str, permissions: Permissions) -> str:
    return (
        f"    {{\n      # {name}\n      nkey: ${name.upper()}_NKEY\n      permissions: {{\n"
        f"        publish: {{ allow: [{_lines(permissions.publish)}] }}\n"
        f"        subscribe: {{ allow: [{_lines(permissions.subscribe)}] }}\n"
        "      }\n    }"
    )


def _lines(subjects: tuple[str, ...]) -> str:
    inner = "".join(f'\n          "{subject}",' for subject in subjects)
    return inner.rstrip(",") + "\n        "
