"""A collector of OpenTelemetry: takes spans by the protocol's own service and definitions, and writes each as a line of JSON.
"""

import json
from concurrent import futures

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.trace.v1 import trace_pb2

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


def plain(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def export(request, context):
    for of_resource in request.resource_spans:
        resource = plain(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                told = {
                    "resource": resource,
                    "scope": of_scope.scope.name,
                    "name": span.name,
                    "kind": trace_pb2.Span.SpanKind.Name(span.kind),
                    "trace": span.trace_id.hex(),
                    "span": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "state": span.trace_state,
                    "status": trace_pb2.Status.StatusCode.Name(span.status.code),
                    "nanoseconds": span.end_time_unix_nano - span.start_time_unix_nano,
                    "attributes": plain(span.attributes),
                }
                print(json.dumps(told), flush=True)
    return messages.ExportTraceServiceResponse()


handler = grpc.unary_unary_rpc_method_handler(
    export,
    request_deserializer=messages.ExportTraceServiceRequest.FromString,
    response_serializer=messages.ExportTraceServiceResponse.SerializeToString,
)
server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Export": handler}),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"listens 127.0.0.1:{port}", flush=True)
server.wait_for_termination()
