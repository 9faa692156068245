'use strict';
// Frames over descriptor 3, version 2 of the protocol (crates/guest/PROTOCOL.md). All calls block: the socket is
// this process's only work while nothing runs, and its parts are small while something does.

const fs = require('fs');

const FD = 3;
const VERSION = 2;
const HEADER = 8;
// Bytes of a request id.
const ID = 16;
const EVENT_HEAD = 32;
const EVENT = 0x01;
const CONFIGURE = 0x02;
const CHUNK = 1 << 20;
// The largest packet that the host takes.
const PACKET = 64 * 1024;

exports.FD = FD;
exports.BOOTED = 0x81;
exports.READY = 0x82;
exports.INIT_ERROR = 0x83;
exports.RESPONSE = 0x84;
exports.ERROR = 0x85;
exports.STREAM_HEAD = 0x86;
exports.STREAM_CHUNK = 0x87;
exports.STREAM_END = 0x88;
exports.STREAM_ERROR = 0x89;
exports.FATAL_ERROR = 0x8a;

const NONE = Buffer.alloc(0);
const scratch = Buffer.allocUnsafeSlow(64 * 1024);

// Only if someone has made the descriptor non-blocking is there anything to wait for.
function wait(error) {
  if (error.code !== 'EAGAIN') {
    throw error;
  }
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
}

function read(buffer, from) {
  for (;;) {
    try {
      const count = fs.readSync(FD, buffer, from, buffer.length - from, null);
      if (count === 0) {
        process.reallyExit(0);
      }
      return count;
    } catch (error) {
      wait(error);
    }
  }
}

function writeAll(fd, buffer) {
  let from = 0;
  while (from < buffer.length) {
    try {
      from += fs.writeSync(fd, buffer, from, Math.min(buffer.length - from, PACKET));
    } catch (error) {
      wait(error);
    }
  }
}

exports.writeAll = writeAll;

function head(buffer, kind, length) {
  buffer.writeUInt32LE(length, 0);
  buffer.writeUInt32LE(kind | (VERSION << 8), 4);
}

/// Sends a frame whose body is `id` and `body`.
exports.send = (kind, id = null, body = NONE) => {
  const before = id === null ? 0 : id.length;
  const buffer = Buffer.allocUnsafe(HEADER + before + body.length);
  head(buffer, kind, before + body.length);
  if (id !== null) {
    id.copy(buffer, HEADER);
  }
  body.copy(buffer, HEADER + before);
  writeAll(FD, buffer);
};

// Where a small answer is put together: the next one is, when this one is written.
const outgoing = Buffer.allocUnsafeSlow(16 * 1024);
// No text of this length is longer in UTF-8 than there is room for.
const SMALL = Math.floor((outgoing.length - HEADER - ID) / 3);

/// Sends a frame whose body is `id` and a text.
exports.sendText = (kind, id, text) => {
  if (text.length > SMALL) {
    exports.send(kind, id, Buffer.from(text));
    return;
  }
  for (let at = 0; at < ID; at += 1) {
    outgoing[HEADER + at] = id[at];
  }
  const length = HEADER + ID + outgoing.write(text, HEADER + ID);
  head(outgoing, kind, length - HEADER);
  let sent = 0;
  try {
    sent = fs.writeSync(FD, outgoing, 0, length);
  } catch (error) {
    wait(error);
  }
  if (sent < length) {
    writeAll(FD, outgoing.subarray(sent, length));
  }
};

/// Sends a part of a stream, in as many frames as it takes.
exports.sendChunk = (id, bytes) => {
  for (let from = 0; from < bytes.length; from += CHUNK) {
    exports.send(exports.STREAM_CHUNK, id, bytes.subarray(from, from + CHUNK));
  }
};

/// Sends an error document with its type before it.
exports.sendFault = (kind, id, fault) => {
  let name = Buffer.from(fault.errorType);
  if (name.length > 256) {
    // Cut between characters.
    name = Buffer.from(fault.errorType.slice(0, 64));
  }
  const head = Buffer.allocUnsafe(2);
  head.writeUInt16LE(name.length, 0);
  exports.send(kind, id, Buffer.concat([head, name, Buffer.from(JSON.stringify(fault))]));
};

/// Blocks until there is a frame of this kind, with at least so many bytes in its body; gives what it is in and its end.
function receiveFrame(kind, least) {
  let buffer = scratch;
  let filled = read(buffer, 0);
  while (filled < HEADER) {
    filled += read(buffer, filled);
  }
  const total = HEADER + buffer.readUInt32LE(0);
  if (total > buffer.length) {
    buffer = Buffer.allocUnsafeSlow(total);
    scratch.copy(buffer, 0, 0, filled);
  }
  while (filled < total) {
    filled += read(buffer, filled);
  }
  if (filled !== total || total < HEADER + least || buffer[4] !== kind || buffer[5] !== VERSION) {
    writeAll(2, Buffer.from(`the host sent another frame than protocol ${VERSION} has here\n`));
    process.reallyExit(70);
  }
  return buffer;
}

/// Blocks until the host says which function this is.
exports.receiveConfiguration = () => {
  const buffer = receiveFrame(CONFIGURE, 2);
  return JSON.parse(buffer.toString('utf8', HEADER, HEADER + buffer.readUInt32LE(0)));
};

const TRACE = '","traceId":"';
// A meta but for its trace, which comes last and is another for each event, and what it means.
let lastMeta = '';
let lastArn;

/// What a meta says.
function metaOf(text) {
  const at = lastMeta.length;
  if (at > 0 && text.startsWith(lastMeta) && text.endsWith('"}')) {
    const traceId = text.slice(at, -2);
    if (!traceId.includes('"') && !traceId.includes('\\')) {
      return { invokedFunctionArn: lastArn, traceId };
    }
  }
  const meta = JSON.parse(text);
  const { invokedFunctionArn, traceId } = meta;
  const end = text.indexOf(TRACE) + TRACE.length;
  const isPlain = Object.keys(meta).length === 2 && typeof invokedFunctionArn === 'string' && typeof traceId === 'string'
    && text === `{"invokedFunctionArn":"${invokedFunctionArn}${TRACE}${traceId}"}`;
  lastMeta = isPlain ? text.slice(0, end) : '';
  lastArn = invokedFunctionArn;
  return meta;
}

/// Blocks until there is an event.
exports.receive = () => {
  const buffer = receiveFrame(EVENT, EVENT_HEAD);
  const total = HEADER + buffer.readUInt32LE(0);
  const digits = buffer.toString('hex', HEADER, HEADER + ID);
  const payloadAt = HEADER + EVENT_HEAD + buffer.readUInt32LE(32);
  const requestIdBytes = Buffer.allocUnsafe(ID);
  for (let at = 0; at < ID; at += 1) {
    requestIdBytes[at] = buffer[HEADER + at];
  }
  return {
    requestId: `${digits.slice(0, 8)}-${digits.slice(8, 12)}-${digits.slice(12, 16)}-${digits.slice(16, 20)}-${digits.slice(20)}`,
    requestIdBytes,
    deadlineMs: buffer.readUInt32LE(24) + buffer.readUInt32LE(28) * 0x100000000,
    meta: metaOf(buffer.toString('utf8', HEADER + EVENT_HEAD, payloadAt)),
    payload: buffer.toString('utf8', payloadAt, total),
  };
};
