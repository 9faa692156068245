'use strict';
// Streamed answers. Loaded by functions that use them.

const { Writable } = require('stream');

const HTTP_INTEGRATION = 'application/vnd.awslambda.http-integration-response';
const BEFORE_FIRST_WRITE = Symbol('before the first write');

/// What a streaming handler writes its answer to.
class ResponseStream extends Writable {
  #control;
  #invocation;
  #contentType = 'application/octet-stream';

  constructor(control, invocation, highWaterMark) {
    super({ highWaterMark: highWaterMark ?? 64 * 1024 });
    this.#control = control;
    this.#invocation = invocation;
    this.hasBegun = false;
  }

  /// Sets the content type; of effect before the first write.
  setContentType(contentType) {
    this.#contentType = String(contentType);
  }

  write(chunk, encoding, callback) {
    // Objects are sent as their JSON, as Lambda does.
    const bytes = typeof chunk === 'string' || Buffer.isBuffer(chunk) || chunk instanceof Uint8Array
      ? chunk : JSON.stringify(chunk);
    return super.write(bytes, encoding, callback);
  }

  _write(chunk, encoding, callback) {
    if (this.#invocation.isOver) {
      callback();
      return;
    }
    this.#begin();
    this.#control.sendChunk(this.#invocation.bytes, chunk);
    // A turn of the event loop for others before the next part.
    setImmediate(callback);
  }

  #begin() {
    if (!this.hasBegun) {
      this.hasBegun = true;
      this.#control.send(this.#control.STREAM_HEAD, this.#invocation.bytes, Buffer.from(this.#contentType.slice(0, 80)));
      const prelude = this[BEFORE_FIRST_WRITE]?.();
      if (prelude !== undefined) {
        this.#control.sendChunk(this.#invocation.bytes, prelude);
      }
    }
  }

  /// Tells the host that the answer is complete.
  complete() {
    this.#begin();
    this.#control.send(this.#control.STREAM_END, this.#invocation.bytes);
  }
}

exports.ResponseStream = ResponseStream;

/// Streams with an HTTP status, headers and cookies before the body.
exports.HttpResponseStream = class HttpResponseStream {
  static from(stream, prelude) {
    stream.setContentType(HTTP_INTEGRATION);
    const text = JSON.stringify(prelude);
    stream[BEFORE_FIRST_WRITE] = () => Buffer.concat([Buffer.from(text), Buffer.alloc(8)]);
    return stream;
  }
};
