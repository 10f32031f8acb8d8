// One instance of an application, which answers every request in one manner and writes a line for each.
//
//   node instance.mjs MANNER
//
// Manners: "well"; "fails", by 500; "slow", after two seconds; "half", half of an answer, of which the rest never comes; "holds", not at
// all; "reads", once it has read the request to its end. /large is answered by 64 MiB in any manner. To be asked by nobody but the test, past the proxies: /asked tells how many requests came, /become?MANNER changes the manner,
// and answers in it what is held.
import http from 'node:http';

let manner = process.argv[2];
let asked = 0;
let held = [];

const LARGE = Buffer.alloc(64 * 1024 * 1024, 'x');

const answers = {
  well: (response) => response.end('well'),
  fails: (response) => response.writeHead(500).end('fails'),
  slow: (response) => setTimeout(() => response.end('slow'), 2000),
  half: (response) => response.writeHead(200, { 'Content-Length': 8 }).write('half'),
  holds: (response) => held.push(response),
  reads: (response) => response.req.resume().on('end', () => response.end('read')),
};

const server = http.createServer((request, response) => {
  const [path, next] = request.url.split('?');
  if (path === '/asked') return response.end(`${asked}`);
  if (path === '/become') {
    manner = next;
    const waiting = held;
    held = [];
    waiting.forEach((response) => answers[manner](response));
    return response.end();
  }
  asked += 1;
  console.log('asked');
  if (path === '/large') return response.end(LARGE);
  answers[manner](response);
});
server.listen(0, '127.0.0.1', () => console.log(`listens 127.0.0.1:${server.address().port}`));
