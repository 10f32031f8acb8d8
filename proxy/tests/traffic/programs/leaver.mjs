// A client with one answered request behind it and another one under way, whose body is the first line of the input.
//
//   node leaver.mjs http1|http2 PORT
import http from 'node:http';
import http2 from 'node:http2';
import { once } from 'node:events';

const [spoken, port] = process.argv.slice(2);

async function text(stream) {
  let text = '';
  for await (const piece of stream.setEncoding('utf8')) text += piece;
  return text;
}

async function body() {
  console.log('under way');
  const [line] = await once(process.stdin, 'data');
  return line.toString().trim();
}

async function talk1() {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const base = { host: '127.0.0.1', port, agent, headers: { Host: 'web' } };
  const [first] = await once(http.get(base), 'response');
  await text(first);
  const request = http.request({ ...base, method: 'POST', path: '/second' });
  request.flushHeaders();
  const answered = once(request, 'response');
  request.end(await body());
  const [response] = await answered;
  const heard = JSON.parse(await text(response));
  console.log(`${response.statusCode} ${heard.body}, then ${response.headers.connection}`);
}

async function talk2() {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.once('goaway', (code) => console.log(`goaway ${code}`));
  const named = { ':authority': 'web', ':path': '/' };
  await text(session.request(named));
  const stream = session.request({ ...named, ':method': 'POST' });
  const answered = once(stream, 'response');
  stream.write(await body());
  stream.end();
  const [headers] = await answered;
  console.log(`${headers[':status']} ${JSON.parse(await text(stream)).body}`);
}

await (spoken === 'http1' ? talk1() : talk2());
process.exit(0);
