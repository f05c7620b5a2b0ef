"""A caller of the gRPC door that has no file of ours: it learns the messages by reflection.

Run as a program of its own: address, API key and a user's id in, the outcome as JSON out.
"""

import json
import os
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


def main() -> None:
    """Ask for the services, then for one balance by what reflection tells of it."""
    address, key, user_id = os.environ["DOOR"], os.environ["KEY"], sys.argv[1]
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = descriptor_pool.DescriptorPool(database)
        service = pool.FindServiceByName("betmesh.wallet.v1.Wallet")
        method = service.methods_by_name["GetBalance"]
        request_type = message_factory.GetMessageClass(method.input_type)
        reply_type = message_factory.GetMessageClass(method.output_type)
        ask = channel.unary_unary(
            f"/{service.full_name}/{method.name}",
            request_serializer=request_type.SerializeToString,
            response_deserializer=reply_type.FromString,
        )
        request = json_format.ParseDict({"user_id": user_id}, request_type())
        reply = ask(request, metadata=(("authorization", f"Bearer {key}"),), timeout=10)
        print(
            json.dumps(
                {
                    "services": sorted(database.get_services()),
                    "methods": sorted(service.methods_by_name),
                    "balance": json_format.MessageToDict(reply, preserving_proto_field_name=True),
                    "ours": sorted(name for name in sys.modules if name.split(".")[0] == "svc"),
                }
            )
        )


if __name__ == "__main__":
    main()
