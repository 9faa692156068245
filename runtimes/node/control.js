'use strict';
// Frames over descriptor 3, version 2 of the protocol (crates/guest/PROTOCOL.md). All calls block: the socket is
// this process's only work while nothing runs, and its parts are small while something does.

const fs = require('fs');

const FD = 3;
const VERSION = 2;
const HEADER = 8;
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

function frame(kind, id, length) {
  const head = id === null ? 0 : id.length;
  const buffer = Buffer.allocUnsafe(HEADER + head + length);
  buffer.writeUInt32LE(head + length, 0);
  buffer.writeUInt32LE(kind | (VERSION << 8), 4);
  if (id !== null) {
    id.copy(buffer, HEADER);
  }
  return buffer;
}

/// Sends a frame whose body is `id` and `body`.
exports.send = (kind, id = null, body = NONE) => {
  const buffer = frame(kind, id, body.length);
  body.copy(buffer, buffer.length - body.length);
  writeAll(FD, buffer);
};

/// The same for text, without a copy of it.
exports.sendText = (kind, id, text) => {
  const length = Buffer.byteLength(text);
  const buffer = frame(kind, id, length);
  buffer.write(text, buffer.length - length);
  writeAll(FD, buffer);
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

let lastMeta = '';
let meta = {};

/// Blocks until there is a frame of this kind, with at least so many bytes in its body.
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
  return buffer.subarray(0, total);
}

/// Blocks until the host says which function this is.
exports.receiveConfiguration = () => JSON.parse(receiveFrame(CONFIGURE, 2).toString('utf8', HEADER));

/// Blocks until there is an event.
exports.receive = () => {
  const buffer = receiveFrame(EVENT, EVENT_HEAD);
  const digits = buffer.toString('hex', 8, 24);
  const payloadAt = HEADER + EVENT_HEAD + buffer.readUInt32LE(32);
  const text = buffer.toString('utf8', HEADER + EVENT_HEAD, payloadAt);
  if (text !== lastMeta) {
    meta = JSON.parse(text);
    lastMeta = text;
  }
  return {
    requestId: `${digits.slice(0, 8)}-${digits.slice(8, 12)}-${digits.slice(12, 16)}-${digits.slice(16, 20)}-${digits.slice(20)}`,
    requestIdBytes: Buffer.from(buffer.subarray(8, 24)),
    deadlineMs: buffer.readUInt32LE(24) + buffer.readUInt32LE(28) * 0x100000000,
    meta,
    payload: buffer.toString('utf8', payloadAt),
  };
};
