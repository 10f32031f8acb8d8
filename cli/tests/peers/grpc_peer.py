"""A proxyless gRPC client and three backends that answer A, B and C.

Arguments: the control plane's target, node id, workload, service. Writes the backends' ports as one line, then for
each line read makes one call that asks for that version by a header, and writes `ok NAME` or `error STATUS`. Ends with its input.
"""

import json
import os
import sys
from concurrent import futures

control, node_id, workload, service = sys.argv[1:]
# Each lost stream would be told; set it to see why a call fails.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# Read by gRPC when the first channel is made.
os.environ["GRPC_XDS_BOOTSTRAP_CONFIG"] = json.dumps({
    "xds_servers": [{
        "server_uri": control,
        "channel_creds": [{"type": "insecure"}],
        "server_features": ["xds_v3"],
    }],
    "node": {"id": node_id, "cluster": f"{workload}.default"},
})

import grpc  # noqa: E402

METHOD = "/penstock.test.Greeter/Name"


def backend(name):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    answer = grpc.unary_unary_rpc_method_handler(lambda request, context: name.encode())
    package, method = METHOD.strip("/").split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(package, {method: answer}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


backends = [backend(name) for name in "ABC"]
print(*(port for _, port in backends), flush=True)

call = grpc.insecure_channel(f"xds:///{service}").unary_unary(METHOD)
for version in sys.stdin:
    try:
        answer = call(b"", timeout=10, wait_for_ready=True, metadata=[("x-version", version.strip())])
        print("ok", answer.decode(), flush=True)
    except grpc.RpcError as error:
        print("error", error.code(), error.details().replace("\n", " "), flush=True)
# Without waiting for gRPC's threads.
os._exit(0)
