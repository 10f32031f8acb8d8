// An application that answers with what it saw, in HTTP/1 or in HTTP/2 with prior knowledge.
//
//   node server.mjs http1|http2
//
// /refuse wants no body that was announced; /hints sends early hints before its answer.
import http from 'node:http';
import http2 from 'node:http2';

const HINTS = { link: '</style.css>; rel=preload; as=style', 'x-trace': '1' };
let connections = 0;

function answer1(request, response) {
  if (request.url === '/hints') response.writeEarlyHints(HINTS);
  let body = '';
  request.setEncoding('latin1').on('data', (piece) => (body += piece));
  request.on('end', () => {
    const { method, url, httpVersion: version, rawHeaders: headers, rawTrailers: trailers } = request;
    response.setHeader('X-Answered-By', 'node');
    response.setHeader('Trailer', 'X-Sum');
    response.write(JSON.stringify({ method, url, version, headers, trailers, body, connections }));
    response.addTrailers({ 'X-Sum': '7' });
    response.end();
  });
}

function answer2(stream, headers, flags, rawHeaders) {
  if (headers[':path'] === '/hints') stream.additionalHeaders({ ':status': 103, ...HINTS });
  let body = '';
  let trailers = [];
  stream.setEncoding('latin1').on('data', (piece) => (body += piece));
  stream.on('trailers', (named, flags, raw) => (trailers = raw));
  stream.on('end', () => {
    if (stream.aborted) return; // the caller took it back
    stream.respond({ ':status': 200, 'x-answered-by': 'node' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '7' }));
    const { ':method': method, ':path': url } = headers;
    stream.end(JSON.stringify({ method, url, version: '2.0', headers: rawHeaders, trailers, body, connections }));
  });
}

function serve1() {
  const server = http.createServer(answer1);
  server.on('checkContinue', (request, response) => {
    if (request.url === '/refuse') {
      response.writeHead(417, { 'X-Reason': 'not this' });
      return response.end('not this');
    }
    response.writeContinue();
    answer1(request, response);
  });
  // Another protocol than WebSocket: lines come back upside down, also the one that came with the request.
  server.on('upgrade', (request, socket, head) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: upper/1\r\nConnection: Upgrade\r\n\r\n');
    socket.write(head.toString().toUpperCase());
    socket.on('data', (piece) => socket.write(piece.toString().toUpperCase()));
    socket.on('end', () => socket.end('BYE\n'));
  });
  return server;
}

// Node's own bound on lines is 128.
function serve2() {
  return http2.createServer({ maxHeaderListPairs: 200 }).on('stream', answer2);
}

const server = process.argv[2] === 'http1' ? serve1() : serve2();
server.on('connection', () => (connections += 1));
server.listen(0, '127.0.0.1', () => console.log(`listens 127.0.0.1:${server.address().port}`));
