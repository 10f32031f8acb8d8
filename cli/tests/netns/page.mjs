// A page for a browser, and what its script asks for.
//
//   node page.mjs PORT CHAT
//
// CHAT is the URL of a WebSocket that says everything back. The last picture of the page is answered when the script has said that it is
// done, so that the page is not loaded before.
import http from 'node:http';

const [port, chat] = process.argv.slice(2);
let pictures = [];
let isDone = false;

async function script(chat) {
  const ask = async (path, options) => {
    const answer = await fetch(path, options);
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
    return answer.text();
  };
  const next = (target, name) => new Promise((resolve, reject) => {
    target.addEventListener(name, resolve, { once: true });
    target.addEventListener('error', () => reject(new Error(`no ${name}`)), { once: true });
  });
  const said = [];
  try {
    const numbers = await Promise.all(Array.from({ length: 24 }, (_, number) => ask(`/numbers/${number}`)));
    said.push(`${numbers.filter((text, number) => text === `${number}`).length} numbers`);
    const body = 'x'.repeat(300000);
    said.push(`${(await ask('/echo', { method: 'POST', body })) === body ? body.length : 'not'} echoed`);
    const events = new EventSource('/events');
    const letters = [];
    while (letters.length < 3) letters.push((await next(events, 'message')).data);
    events.close();
    said.push(letters.join(' '));
    const socket = new WebSocket(chat);
    socket.binaryType = 'arraybuffer';
    await next(socket, 'open');
    socket.send('hello');
    const word = (await next(socket, 'message')).data;
    // Which no compression makes smaller.
    socket.send(crypto.getRandomValues(new Uint8Array(60000)));
    const bytes = (await next(socket, 'message')).data.byteLength;
    socket.close(1000);
    said.push(`${word} and ${bytes} bytes`, `closed with ${(await next(socket, 'close')).code}`);
  } catch (error) {
    said.push(`${error}`);
  }
  document.getElementById('told').textContent = said.join(', ');
  await ask('/done', { method: 'POST' });
}

const PAGE = `<!doctype html><title>A page</title><link rel="icon" href="data:,"><pre id="told">nothing</pre><img src="/last.svg">
<script>(${script})(${JSON.stringify(chat)})</script>`;
const PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>';

function picture(response) {
  response.writeHead(200, { 'Content-Type': 'image/svg+xml' }).end(PICTURE);
}

// One event at a time: the next comes when the one before is on its way.
function events(response) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  const send = ([letter, ...rest]) => letter && response.write(`data: ${letter}\n\n`, () => setTimeout(send, 20, rest));
  send(['a', 'b', 'c']);
}

http.createServer((request, response) => {
  const { url } = request;
  if (url === '/') return response.writeHead(200, { 'Content-Type': 'text/html' }).end(PAGE);
  if (url === '/last.svg') return isDone ? picture(response) : pictures.push(response);
  if (url === '/events') return events(response);
  if (url === '/echo') return request.pipe(response);
  if (url.startsWith('/numbers/')) return response.end(url.slice('/numbers/'.length));
  if (url !== '/done') return response.writeHead(404).end();
  isDone = true;
  response.end();
  pictures.forEach(picture);
  pictures = [];
}).listen(Number(port), '0.0.0.0');
