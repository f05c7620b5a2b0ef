"""A broker configuration small enough to read, for tests of the platform alone."""

import json
from pathlib import Path

import pytest

NATS_CONF = """\
authorization {
  users = [
    {nkey: $WALLET_NKEY, permissions: {
      publish: { allow: ["wallet.events.>"] }, subscribe: { allow: ["_INBOX.wallet.>"] } } }
    {nkey: $DEPLOY_NKEY, permissions: {
      publish: { allow: ["$JS.API.>"] }, subscribe: { allow: ["_INBOX.deploy.>"] } } }
  ]
}
"""


@pytest.fixture
def jetstream(tmp_path: Path) -> Path:
    """A directory as `just generate` writes it, with one stream, one consumer, one bucket."""
    directory = tmp_path / "jetstream"
    files = {
        "streams/USER.json": {"name": "USER", "subjects": ["user.events.>"], "storage": "file"},
        "consumers/USER.wallet_user.json": {
            "stream_name": "USER",
            "config": {"durable_name": "wallet_user", "ack_policy": "explicit"},
        },
        "buckets/wallet.json": {
            "name": "KV_wallet",
            "subjects": ["$KV.wallet.>"],
            "max_msgs_per_subject": 1,
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "allow_direct": True,
        },
    }
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    (directory / "nats.conf").write_text(NATS_CONF)
    return directory
