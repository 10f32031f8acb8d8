// One request of a caller, and all that came back as JSON.
//
//   node client.mjs http1|http2 PORT '{"method": ..., "path": ..., "headers": {...}, "body": ..., "trailers": {...}}'
import http from 'node:http';
import http2 from 'node:http2';

const [spoken, port, text] = process.argv.slice(2);
const { method = 'GET', path = '/', headers = {}, body = null, trailers = null } = JSON.parse(text);
const seen = { interim: [], body: '', trailers: {}, rawTrailers: [], sentBody: false };

function tell() {
  console.log(JSON.stringify(seen));
  process.exit(0);
}

function ask1() {
  const request = http.request({ host: '127.0.0.1', port, method, path, headers, agent: false });
  const send = () => {
    seen.sentBody = true;
    if (trailers) request.addTrailers(trailers);
    request.end(body);
  };
  request.on('continue', send);
  request.on('information', ({ statusCode, headers, rawHeaders }) =>
    seen.interim.push({ status: statusCode, headers, rawHeaders }));
  request.on('upgrade', (response, socket, head) => {
    seen.status = response.statusCode;
    seen.headers = response.headers;
    seen.body = head.toString();
    socket.on('data', (piece) => (seen.body += piece));
    socket.on('end', tell);
    socket.end('hello\n');
  });
  request.on('response', (response) => {
    seen.status = response.statusCode;
    seen.reason = response.statusMessage;
    seen.headers = response.headers;
    seen.rawHeaders = response.rawHeaders;
    response.setEncoding('latin1').on('data', (piece) => (seen.body += piece));
    response.on('end', () => {
      seen.trailers = response.trailers;
      seen.rawTrailers = response.rawTrailers;
      tell();
    });
  });
  if ('Expect' in headers) request.flushHeaders();
  else if (body === null) request.end();
  else send();
}

function ask2() {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  const named = { ':method': method, ':path': path, ':authority': 'web' };
  for (const [name, value] of Object.entries(headers)) if (name !== 'Host') named[name.toLowerCase()] = value;
  const stream = session.request(named, { waitForTrailers: trailers !== null, endStream: body === null });
  stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  stream.on('headers', (headers) => seen.interim.push({ status: headers[':status'], headers }));
  stream.on('response', (headers) => {
    seen.status = headers[':status'];
    seen.headers = headers;
  });
  stream.on('trailers', (trailers) => (seen.trailers = trailers));
  stream.setEncoding('latin1').on('data', (piece) => (seen.body += piece));
  stream.on('close', tell);
  if (body !== null) stream.end(body);
}

if (spoken === 'http1') ask1();
else ask2();
