// A bare loop on a socket: read a frame, parse it, call the handler, write its result as JSON.
const net = require('node:net');
const handler = async () => null;
const connection = new net.Socket({ fd: 0, readable: true, writable: true });
let rest = Buffer.alloc(0);
connection.on('data', async (chunk) => {
    rest = rest.length ? Buffer.concat([rest, chunk]) : chunk;
    while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32LE(0)) {
        const end = 4 + rest.readUInt32LE(0);
        const event = JSON.parse(rest.subarray(4, end).toString());
        rest = rest.subarray(end);
        const answer = Buffer.from(JSON.stringify(await handler(event, null)));
        const frame = Buffer.allocUnsafe(4 + answer.length);
        frame.writeUInt32LE(answer.length, 0);
        answer.copy(frame, 4);
        connection.write(frame);
    }
});
connection.on('end', () => process.exit(0));
