"""A gRPC service on a port of its own, and a client that makes some calls on one channel and ends badly if one fails.

calls_peer.py server | calls_peer.py TARGET AUTHORITY COUNT
"""

import sys
from concurrent import futures

import grpc

METHOD = "/penstock.test.Echo/Say"

if sys.argv[1] == "server":
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    package, method = METHOD.strip("/").split("/")
    say = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(package, {method: say}),))
    print(f"listens 127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", flush=True)
    server.start()
    server.wait_for_termination()

target, authority, count = sys.argv[1:]
with grpc.insecure_channel(target, options=[("grpc.default_authority", authority)]) as channel:
    say = channel.unary_unary(METHOD)
    for number in range(int(count)):
        word = str(number).encode()
        assert say(word, timeout=30) == word
