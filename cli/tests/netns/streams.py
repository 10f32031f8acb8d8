"""A gRPC service of all four kinds of calls, a WebSocket server, and clients of both that know nothing of a mesh.

streams.py grpc-server PORT | grpc-client TARGET | websocket-server PORT | websocket-client URL
"""

import asyncio
import sys
from concurrent import futures


def grpc_server(port):
    import grpc

    def client_stream(requests, context):
        return b"+".join(requests)

    def server_stream(request, context):
        for number in range(3):
            yield request + str(number).encode()

    def both(requests, context):
        for request in requests:
            yield request.upper()

    def unary(request, context):
        if request == b"fail":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        context.set_trailing_metadata((("x-trailer", "carried"),))
        return b"hello " + request

    calls = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "Both": grpc.stream_stream_rpc_method_handler(both),
    }
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Kinds", calls),))
    server.add_insecure_port(f"0.0.0.0:{port}")
    server.start()
    server.wait_for_termination()


def grpc_client(target):
    import queue

    import grpc

    with grpc.insecure_channel(target) as channel:
        unary = channel.unary_unary("/test.Kinds/Unary")
        answer, call = unary.with_call(b"mesh", timeout=20)
        print(answer.decode(), dict(call.trailing_metadata())["x-trailer"])
        print(channel.stream_unary("/test.Kinds/ClientStream")(iter([b"a", b"b", b"c"]), timeout=20).decode())
        print(*(piece.decode() for piece in channel.unary_stream("/test.Kinds/ServerStream")(b"n", timeout=20)))
        # Each request is sent only after the answer to the one before it: nothing may be held back.
        waiting = queue.Queue()
        answers = channel.stream_stream("/test.Kinds/Both")(iter(waiting.get, None), timeout=20)
        said = []
        for word in (b"one", b"two", b"three"):
            waiting.put(word)
            said.append(next(answers).decode())
        waiting.put(None)
        print(*said, "and", len(list(answers)), "more")
        try:
            unary(b"fail", timeout=20)
        except grpc.RpcError as error:
            print(error.code().name, error.details())


async def websocket_server(port):
    from websockets.asyncio.server import serve

    async def echo(connection):
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "0.0.0.0", port, max_size=None) as server:
        await server.serve_forever()


async def websocket_client(url):
    from websockets.asyncio.client import connect

    async with connect(url, max_size=None, open_timeout=20, compression=None) as connection:
        for message in ("hello", "x" * 1_000_000, b"\x00\xff" * 100_000):
            await connection.send(message)
            assert await asyncio.wait_for(connection.recv(), 20) == message
    print("three messages, closed with", connection.close_code)


what, argument = sys.argv[1:]
run = {
    "grpc-server": grpc_server,
    "grpc-client": grpc_client,
    "websocket-server": lambda port: asyncio.run(websocket_server(int(port))),
    "websocket-client": lambda url: asyncio.run(websocket_client(url)),
}
run[what](argument)
