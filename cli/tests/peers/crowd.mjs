// Many callers at once, which stay until the input ends.
//
//   node crowd.mjs asks|heads PORT COUNT
//
// "asks": each asks for http://web/ once and keeps its connection. Once the last is answered, a line of JSON tells how many were answered by
// each status, and each reason for which a proxy refused one. "heads": each sends 60 KiB of a head that never ends, and comes again when
// it is sent away; a line tells when all of them are there.
import http from 'node:http';
import net from 'node:net';

const [kind, port, count] = process.argv.slice(2);

function asks() {
  const agent = new http.Agent({ keepAlive: true });
  const [statuses, reasons] = [{}, new Set()];
  let left = Number(count);
  const ended = (status) => {
    statuses[status] = (statuses[status] ?? 0) + 1;
    left -= 1;
    if (left === 0) console.log(JSON.stringify({ statuses, reasons: [...reasons] }));
  };
  for (let number = 0; number < count; number += 1) {
    const request = http.get({ host: '127.0.0.1', port, agent, headers: { Host: 'web' } }, (response) => {
      const reason = response.headers['penstock-error'];
      if (reason) reasons.add(reason);
      response.resume().on('end', () => ended(response.statusCode));
    });
    request.on('error', (error) => ended(error.code));
  }
}

function heads() {
  const head = `GET / HTTP/1.1\r\nHost: web\r\nX-Long: ${'x'.repeat(60 * 1024)}`;
  let left = Number(count);
  const sent = () => {
    left -= 1;
    if (left === 0) console.log('there');
  };
  const come = () => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', () => {}).on('close', come).resume();
    socket.write(head, sent);
  };
  for (let number = 0; number < count; number += 1) come();
}

(kind === 'asks' ? asks : heads)();
process.stdin.on('end', () => process.exit(0)).resume();
