// An application that leaves requests without an answer, each path's once (/first never), and tells at /seen what it was sent.
//
//   node leaving.mjs http1|http2
//
// HTTP/1: /dies ends the connection. HTTP/2: /refused resets the stream as one that was not begun, /goodbye leaves the connection
// with a word that says so, /half refuses once it has a piece of the body. A call of gRPC is never answered, whatever time it has.
import http from 'node:http';
import http2 from 'node:http2';

const seen = [];

/** Whether this request is the first to its path, which is then known. */
function isFirst(method, path) {
  const line = `${method} ${path}`;
  const known = seen.includes(line);
  if (path !== '/seen') seen.push(line);
  return !known;
}

function server1() {
  return http.createServer((request, response) => {
    const first = isFirst(request.method, request.url);
    if (first && request.url === '/dies') return request.socket.destroy();
    response.end(request.url === '/seen' ? JSON.stringify(seen) : request.method);
  });
}

function server2() {
  const server = http2.createServer();
  server.on('stream', (stream, { ':method': method, ':path': path, 'content-type': type }) => {
    stream.on('error', () => {});
    if (type === 'application/grpc') return;
    const first = isFirst(method, path);
    if (first && path === '/refused') return stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    if (first && path === '/goodbye') {
      // The stream before this one was the last that was begun on.
      stream.session.goaway(http2.constants.NGHTTP2_NO_ERROR, stream.id - 2);
      return stream.session.close();
    }
    let body = '';
    stream.setEncoding('latin1').on('data', (piece) => {
      if (first && path === '/half') stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
      body += piece;
    });
    stream.on('end', () => {
      if (stream.closed || stream.destroyed) return;
      stream.respond({ ':status': 200 });
      stream.end(path === '/seen' ? JSON.stringify(seen) : method + body);
    });
  });
  return server;
}

const server = process.argv[2] === 'http2' ? server2() : server1();
server.listen(0, '127.0.0.1', () => {
  const { address, port } = server.address();
  console.log(`listens ${address}:${port}`);
});
