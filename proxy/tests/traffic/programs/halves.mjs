// TCP that ends in halves, and a server that speaks first.
//
//   node halves.mjs sums        a server that reads to the end, then tells how much came and goes on for a megabyte
//   node halves.mjs ends-first  a server that says its say, ends its half, and then reads to the end and tells what came
//   node halves.mjs mail        a mail server that takes no mail
import net from 'node:net';

const [what] = process.argv.slice(2);

function sums(socket) {
  let length = 0;
  socket.on('data', (piece) => (length += piece.length));
  socket.on('end', () => socket.end(`${length}\n${'y'.repeat(1_000_000)}`));
}

function endsFirst(socket) {
  socket.end('all that I have to say\n');
  let said = '';
  socket.on('data', (piece) => (said += piece));
  socket.on('end', () => console.log(`heard ${said.length} ${said.slice(0, 5)}`));
}

function mail(socket) {
  socket.write('220 mail ESMTP\r\n');
  let said = '';
  socket.on('data', (piece) => {
    said += piece;
    for (let end; (end = said.indexOf('\r\n')) >= 0; said = said.slice(end + 2)) {
      const word = said.slice(0, 4).toUpperCase();
      if (word === 'EHLO') socket.write('250-mail\r\n250 HELP\r\n');
      else if (word === 'QUIT') socket.end('221 bye\r\n');
      else if (word === 'HELP') socket.write('214 there is none\r\n');
      else socket.write('502 not here\r\n');
    }
  });
}

const talk = { sums, 'ends-first': endsFirst, mail }[what];
const server = net.createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('error', (error) => console.log(`error ${error.code}`));
  talk(socket);
});
server.listen(0, '127.0.0.1', () => console.log(`listens 127.0.0.1:${server.address().port}`));
