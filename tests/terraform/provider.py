"""A stand-in for the Google provider: enough for `terraform validate` and `terraform plan` where the real one cannot be
had. It knows the types of `schema.hcl`, asks nobody, and can apply nothing.

Arguments: the folder of plugin_pb2.py, and the socket to listen on.
"""

import json
import pathlib
import re
import sys
from concurrent import futures

import grpc
import msgpack

sys.path.insert(0, sys.argv[1])
import plugin_pb2 as messages
import plugin_pb2_grpc as services

TEXT = pathlib.Path(__file__).with_name("schema.hcl").read_text(encoding="utf-8")
TOKENS = re.findall(r'"[^"]*"|\w+|[{}\[\]=]', re.sub(r"(?m)#.*$", "", TEXT))
UNKNOWN = msgpack.ExtType(0, b"\0")
# The one value with a shape: what a domain mapping wants of the DNS.
RECORD = {"name": "string", "type": "string", "rrdata": "string"}
STATUS = ["list", ["object", {"resource_records": ["list", ["object", RECORD]]}]]


def body(at):
    """Lists and blocks up to the closing brace: ({name: words}, [(word, label, body)], where it ends)."""
    lists, blocks = {}, []
    while at < len(TOKENS) and TOKENS[at] != "}":
        word = TOKENS[at]
        if TOKENS[at + 1] == "=":
            end = TOKENS.index("]", at)
            lists[word] = [name.strip('"') for name in TOKENS[at + 3 : end]]
            at = end + 1
        else:
            opening = TOKENS.index("{", at)
            inner = body(opening + 1)
            blocks.append((word, "".join(TOKENS[at + 1 : opening]).strip('"'), inner))
            at = inner[2] + 1
    return lists, blocks, at


TOP = body(0)[1]
TYPES = next(inner[0] for word, _, inner in TOP if word == "types")


def type_of(name):
    if name == "status":
        return STATUS
    for kind in ("map", "list"):
        if name in TYPES[kind]:
            return [kind, "string"]
    return next((kind for kind in ("bool", "number") if name in TYPES[kind]), "string")


def block(inner, top=False):
    lists, blocks, _ = inner
    nested = {word for word, _, _ in blocks}
    attributes = []
    for how in ("required", "optional", "exported"):
        for name in lists.get(how, []):
            if name not in nested:
                # Project and location of a resource come from the provider where they are not given.
                given = top and name in ("project", "location") and how == "optional"
                attributes.append(
                    messages.Attribute(
                        name=name,
                        type=json.dumps(type_of(name)).encode(),
                        required=how == "required",
                        optional=how == "optional",
                        computed=how == "exported" or given,
                        write_only=name.endswith("_wo"),
                    )
                )
    return messages.Block(
        attributes=attributes,
        blocks=[
            messages.Nested(
                name=word,
                block=block(deeper),
                nesting=2,
                least=int(word in lists.get("required", [])),
                most=0 if word in TYPES["many"] else 1,
            )
            for word, _, deeper in blocks
        ],
    )


SCHEMAS = {
    kind: {label: messages.Schema(block=block(inner, True)) for word, label, inner in TOP if word == kind}
    for kind in ("resource", "data")
}
OWN = [messages.Attribute(name=name, type=b'"string"', optional=True) for name in ("project", "region")]


def read(value):
    return msgpack.unpackb(value.msgpack, strict_map_key=False)


def answer(value):
    return messages.Answer(value=messages.Value(msgpack=msgpack.packb(value)))


class Provider(services.ProviderServicer):
    def GetSchema(self, request, context):
        own = messages.Schema(block=messages.Block(attributes=OWN))
        return messages.Schemas(provider=own, resources=SCHEMAS["resource"], data_sources=SCHEMAS["data"])

    def PrepareProviderConfig(self, request, context):
        return messages.Answer(value=request.config)

    def nothing(self, request, context):
        return messages.Nothing()

    Configure = ValidateResourceTypeConfig = ValidateDataSourceConfig = Stop = nothing

    def PlanResourceChange(self, request, context):
        planned = read(request.proposed)
        for attribute in SCHEMAS["resource"][request.type].block.attributes if planned else []:
            if attribute.computed and planned.get(attribute.name) is None:
                planned[attribute.name] = UNKNOWN
            if attribute.write_only:
                planned[attribute.name] = None
        return answer(planned)

    def ReadDataSource(self, request, context):
        return answer(read(request.config) | {"number": "123456789012", "id": "projects/example", "name": "example"})


server = grpc.server(futures.ThreadPoolExecutor(4))
services.add_ProviderServicer_to_server(Provider(), server)
server.add_insecure_port(f"unix:{sys.argv[2]}")
server.start()
server.wait_for_termination()
