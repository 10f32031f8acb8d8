"""Applications that say who called them: `http PORT ADDRESS...` in an answer's body, `tcp PORT ADDRESS...` as the first word."""

import http.server
import socket
import socketserver
import sys
import threading


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = (self.client_address[0] + "\n").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Word(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall((self.client_address[0] + "\n").encode())
        while word := self.request.recv(4096):
            self.request.sendall(word)


def serve(address, port, handler):
    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        allow_reuse_address = True
        daemon_threads = True

    Server((address, port), handler).serve_forever()


kind, port, *addresses = sys.argv[1:]
handler = {"http": Page, "tcp": Word}[kind]
servers = [threading.Thread(target=serve, args=(address, int(port), handler)) for address in addresses]
for server in servers:
    server.start()
