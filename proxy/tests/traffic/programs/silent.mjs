// A client over HTTP/2 that is silent on three streams: on one it sends nothing, on one the beginning of a body, and the third is a gRPC
// call. It tells how the first two are answered, and then says its word in the call, and tells what that is answered.
//
//   node silent.mjs PORT
import http2 from 'node:http2';
import { once } from 'node:events';

const session = http2.connect(`http://127.0.0.1:${process.argv[2]}`);
const open = (type) =>
  session
    .request({ ':method': 'POST', ':authority': 'web', ':path': '/', 'content-type': type })
    .on('error', () => {});

const call = open('application/grpc');
const [nothing, half] = [open('text/plain'), open('text/plain')];
half.write('half');
for (const [headers] of await Promise.all([once(nothing, 'response'), once(half, 'response')])) {
  console.log(`${headers[':status']} ${headers['penstock-error']}`);
}
const answered = once(call, 'response');
call.end('late');
const [headers] = await answered;
let text = '';
for await (const piece of call.setEncoding('utf8')) text += piece;
console.log(`${headers[':status']} ${JSON.parse(text).body}`);
process.exit(0);
