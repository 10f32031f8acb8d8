"""A server that takes its time, and a client that gives it much to read.

unhurried.py server PORT: /upgrade is upgraded and not read until somebody asks for /go, then to its end, and told how many bytes that
were; /never is never answered.
unhurried.py writer HOST BYTES: sends so many on an upgraded connection; prints what it is told.
"""

import asyncio
import socket
import sys

UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: words\r\n\r\n"


async def server(port):
    go = asyncio.Event()

    async def serve(reader, writer):
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
            if path == b"/go":
                go.set()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            elif path == b"/upgrade":
                writer.write(UPGRADED)
                await go.wait()
                count = 0
                while piece := await reader.read(1 << 20):
                    count += len(piece)
                writer.write(b"%d\n" % count)
            else:
                await reader.read()
            await writer.drain()
            writer.close()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # whoever asked is gone

    async with await asyncio.start_server(serve, "127.0.0.1", port) as listener:
        await listener.serve_forever()


def writer(host, count):
    with socket.create_connection((host, 80)) as stream:
        stream.sendall(f"GET /upgrade HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: words\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += stream.recv(1)
        assert b" 101 " in head, head
        stream.sendall(b"x" * count)
        stream.shutdown(socket.SHUT_WR)
        print(stream.recv(100).decode(), end="")


if sys.argv[1] == "server":
    asyncio.run(server(int(sys.argv[2])))
else:
    writer(sys.argv[2], int(sys.argv[3]))
