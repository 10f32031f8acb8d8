"""A gRPC service of all four kinds of calls, a WebSocket server, and clients of both.

streams.py grpc-server | grpc-client TARGET | grpc-patient TARGET [TIMEOUT] | websocket-server | websocket-client PORT
"""

import asyncio
import sys
import threading
import time
from concurrent import futures

BINARY = bytes(range(256))


def grpc_server():
    import grpc

    def unary(request, context):
        if request == b"fail":
            context.set_trailing_metadata((("x-why-bin", BINARY),))
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no: \u00fc and\nanother line, 100 %")
        if request == b"wait":
            cancelled = threading.Event()
            context.add_callback(cancelled.set)
            # How long the caller's deadline leaves, as it came over the wire; then far longer than that.
            sys.stdout.write(f"remaining {context.time_remaining():.3f}\n")
            sys.stdout.flush()
            cancelled.wait(50)
            sys.stdout.write("cancelled\n" if cancelled.is_set() else "not cancelled\n")
            sys.stdout.flush()
            return b"late"
        metadata = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-first", "yes"),))
        context.set_trailing_metadata((("x-last-bin", metadata["x-asked-bin"]), ("x-agent", metadata["user-agent"])))
        return request[::-1]

    def client_stream(requests, context):
        return b"+".join(requests)

    def server_stream(request, context):
        for number in range(int(request)):
            yield str(number).encode() * 1000

    def both(requests, context):
        for request in requests:
            yield request.upper()

    calls = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "Both": grpc.stream_stream_rpc_method_handler(both),
    }
    options = [("grpc.max_receive_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Kinds", calls),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listens 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


def grpc_client(target):
    import queue

    import grpc

    options = [("grpc.default_authority", "web"), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(target, options=options) as channel:
        unary = channel.unary_unary("/test.Kinds/Unary")
        answer, call = unary.with_call(b"mesh", timeout=40, metadata=(("x-asked-bin", BINARY),))
        first, last = dict(call.initial_metadata()), dict(call.trailing_metadata())
        assert last["x-agent"].startswith("grpc-python"), last
        print("unary", answer.decode(), first["x-first"], last["x-last-bin"] == BINARY)
        large = b"x" * 4_500_000
        assert unary(large, timeout=40, metadata=(("x-asked-bin", b""),)) == large
        print("large", len(large))
        for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            assert unary(large, timeout=40, compression=compression, metadata=(("x-asked-bin", b""),)) == large
        print("compressed")
        print("client", channel.stream_unary("/test.Kinds/ClientStream")(iter([b"a", b"b", b"c"]), timeout=40).decode())
        pieces = list(channel.unary_stream("/test.Kinds/ServerStream")(b"500", timeout=40))
        assert pieces == [str(number).encode() * 1000 for number in range(500)]
        print("server", len(pieces))
        # Each request is sent only after the answer to the one before it: nothing may be held back.
        waiting = queue.Queue()
        answers = channel.stream_stream("/test.Kinds/Both")(iter(waiting.get, None), timeout=40)
        said = []
        for word in (b"one", b"two", b"three"):
            waiting.put(word)
            said.append(next(answers).decode())
        waiting.put(None)
        print("both", *said, "and", len(list(answers)), "more")
        for request, method in ((b"fail", "Unary"), (b"", "Nothing")):
            try:
                channel.unary_unary(f"/test.Kinds/{method}")(request, timeout=40)
            except grpc.RpcError as error:
                why = dict(error.trailing_metadata()).get("x-why-bin")
                print("status", error.code().name, repr(error.details()), why == BINARY)
        begun = time.monotonic()
        try:
            unary(b"wait", timeout=1.5)
        except grpc.RpcError as error:
            assert time.monotonic() - begun >= 1.5
            print("deadline", error.code().name)
        # A caller that loses interest.
        left = unary.future(b"wait", timeout=45)
        print("waits", flush=True)
        sys.stdin.readline()
        left.cancel()
        print("left", left.code().name, flush=True)
        sys.stdin.readline()


def grpc_patient(target, *timeout):
    """Never gives up a call itself; `timeout` is what it says of the time that it has."""
    import grpc

    with grpc.insecure_channel(target, options=[("grpc.default_authority", "web")]) as channel:
        try:
            channel.unary_unary("/test.Kinds/Unary")(b"wait", metadata=[("grpc-timeout", said) for said in timeout])
        except grpc.RpcError as error:
            print(error.code().name, repr(error.details()))


async def websocket_server():
    from websockets.asyncio.server import serve

    async def echo(connection):
        assert connection.subprotocol == "chat.v2", connection.subprotocol
        async for message in connection:
            await connection.send(message)
        assert connection.close_code == 4001, connection.close_code

    async with serve(echo, "127.0.0.1", 0, max_size=None, subprotocols=["chat.v2"]) as server:
        print(f"listens 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


async def websocket_client(port):
    from websockets.asyncio.client import connect

    url = f"ws://web/chat?room=1"
    asked = {"host": "127.0.0.1", "port": int(port), "max_size": None, "open_timeout": 40, "subprotocols": ["chat.v2"]}
    for compression in (None, "deflate"):
        async with connect(url, compression=compression, **asked) as connection:
            for message in ("hello", "x" * 1_000_000, b"\x00\xff" * 100_000, ""):
                await connection.send(message)
                assert await asyncio.wait_for(connection.recv(), 40) == message
            await asyncio.wait_for(await connection.ping(), 40)
            await connection.close(4001, "done")
        print(compression, connection.subprotocol, connection.close_code)


what, *arguments = sys.argv[1:]
run = {
    "grpc-server": grpc_server,
    "grpc-client": grpc_client,
    "grpc-patient": grpc_patient,
    "websocket-server": lambda: asyncio.run(websocket_server()),
    "websocket-client": lambda port: asyncio.run(websocket_client(port)),
}
run[what](*arguments)
