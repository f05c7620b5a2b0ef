"""Writes the Python stubs of `proto/`: messages, their types, and gRPC clients.

`grpc_tools` is a development dependency; services import what it wrote.
"""

import tempfile
from pathlib import Path
from typing import Any, cast

from svc.platform.installation import ROOT

PROTO = ROOT / "proto"


def stub_files() -> dict[str, str]:
    """Return the text of every generated stub by its path in the checkout.

    Raises RuntimeError when a .proto file is not valid; protoc has said why on standard error.
    """
    import grpc_tools
    from grpc_tools import protoc

    sources = sorted(str(path.relative_to(ROOT)) for path in PROTO.rglob("*.proto"))
    included = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        # Seen from the checkout's root, so that modules are called as they lie: proto.betmesh.…
        code: int = cast("Any", protoc).main(
            [
                "protoc",
                f"-I{ROOT}",
                f"-I{included}",
                f"--python_out={folder}",
                f"--pyi_out={folder}",
                f"--grpc_python_out={folder}",
                *sources,
            ]
        )
        if code != 0:
            raise RuntimeError("protoc refused a .proto file; it said why above")
        written = Path(folder)
        return {
            str(path.relative_to(written)): path.read_text()
            for path in sorted(written.rglob("*.py*"))
        }
