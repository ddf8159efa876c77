"""The messages of the worker's protocol that carry data, as protobuf classes, and stand-ins for the others.

Host and worker talk over gRPC; the worker library is handed the classes. Those with data are real ones, which refuse
what cannot be sent, such as a header that is no text. Of the others the library only fills in members and hands them
back. Names are those of FunctionRpc.proto, as far as they are needed here.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

_FIELD = descriptor_pb2.FieldDescriptorProto
_KINDS = {
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
    "sint64": _FIELD.TYPE_SINT64,
    "double": _FIELD.TYPE_DOUBLE,
    "bool": _FIELD.TYPE_BOOL,
}
_PACKAGE = "functions"
# Fields by message: `map` is one of texts, a message is named. In `oneof` they exclude one another.
_MESSAGES: dict[str, dict[str, str]] = {
    "TypedData": {
        "string": "string",
        "json": "string",
        "bytes": "bytes",
        "stream": "bytes",
        "http": "RpcHttp",
        "int": "sint64",
        "double": "double",
    },
    "RpcHttpCookie": {"name": "string", "value": "string"},
    "RpcHttp": {
        "method": "string",
        "url": "string",
        "headers": "map",
        "params": "map",
        "query": "map",
        "body": "TypedData",
        "status_code": "string",
        "enable_content_negotiation": "bool",
        "cookies": "RpcHttpCookie*",
    },
    "ParameterBinding": {"name": "string", "data": "TypedData"},
}
_ONE_OF = {
    "TypedData": ("data", set(_MESSAGES["TypedData"])),
    "ParameterBinding": ("rpc_data", {"data"}),
}


def _describe(name: str) -> descriptor_pb2.DescriptorProto:
    described = descriptor_pb2.DescriptorProto(name=name)
    group, members = _ONE_OF.get(name, ("", set()))
    if group:
        described.oneof_decl.add(name=group)
    for number, (field, kind) in enumerate(_MESSAGES[name].items(), 1):
        added = described.field.add(name=field, number=number, label=_FIELD.LABEL_OPTIONAL)
        if field in members:
            added.oneof_index = 0
        if kind in _KINDS:
            added.type = _KINDS[kind]
            continue
        added.type = _FIELD.TYPE_MESSAGE
        if kind == "map":
            entry = f"{field.capitalize()}Entry"
            nested = described.nested_type.add(name=entry)
            nested.options.map_entry = True
            for place, part in enumerate(("key", "value"), 1):
                nested.field.add(name=part, number=place, label=_FIELD.LABEL_OPTIONAL, type=_FIELD.TYPE_STRING)
            kind = f"{name}.{entry}*"
        if kind.endswith("*"):
            added.label = _FIELD.LABEL_REPEATED
        added.type_name = f".{_PACKAGE}.{kind.rstrip('*')}"
    return described


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="functions.proto", package=_PACKAGE, syntax="proto3")
    file.message_type.extend(_describe(name) for name in _MESSAGES)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


class Message(SimpleNamespace):
    """Stands in for a message of which the library only fills in members."""


class _BindingInfo(Message):
    # Numbers of BindingInfo.Direction and BindingInfo.DataType.
    out, inout, undefined = 1, 2, 0


class StatusResult(Message):
    Failure, Success = 0, 1


_DATA = _classes()
TypedData: Any = _DATA["TypedData"]
RpcHttp: Any = _DATA["RpcHttp"]
ParameterBinding: Any = _DATA["ParameterBinding"]

PROTOS = SimpleNamespace(
    BindingInfo=_BindingInfo,
    FunctionMetadataResponse=Message,
    InvocationResponse=Message,
    RpcException=Message,
    RpcFunctionMetadata=Message,
    RpcRetryOptions=Message,
    StatusResult=StatusResult,
    WorkerInitResponse=Message,
    WorkerMetadata=Message,
    **_DATA,
)
"""What the library is handed as `protos`."""
