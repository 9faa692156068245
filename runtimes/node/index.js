'use strict';
// Loads the function and serves events over descriptor 3 (crates/guest/PROTOCOL.md).
//
// Between two invocations the thread blocks in read(2), which is the shortest way to an event. What a handler left
// behind runs on with the next event, as on Lambda, where the environment is frozen.

const control = require('./control');
const log = require('./log');
const modules = require('./modules');
const trace = require('./trace');
const { faultOf, Fault } = require('./faults');

const { env } = process;
const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');

let handler;
// From Node 24 on Lambda knows no callbacks, and `context` has no `done`, `succeed` and `fail`.
let hasCallbacks = true;
// The invocation that runs: `{ id, bytes, isOver }`.
let current = null;
// What is to be done when the event loop has nothing left to do.
let whenIdle = null;

globalThis.awslambda = {
  streamifyResponse(streamed, options) {
    streamed[STREAMING] = 'response';
    if (typeof options?.highWaterMark === 'number') {
      streamed[Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark')] = options.highWaterMark;
    }
    return streamed;
  },
  get HttpResponseStream() {
    return require('./stream').HttpResponseStream;
  },
};

// What is the same for each event: a look at the environment's variables is a call of the C library.
let own;

function readVariables() {
  own = {
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
  };
}

function contextOf(event, invocation) {
  const { meta } = event;
  const context = {
    callbackWaitsForEmptyEventLoop: true,
    functionVersion: own.functionVersion,
    functionName: own.functionName,
    memoryLimitInMB: own.memoryLimitInMB,
    logGroupName: own.logGroupName,
    logStreamName: own.logStreamName,
    clientContext: meta.clientContext === undefined ? undefined : JSON.parse(meta.clientContext),
    identity: meta.identity,
    invokedFunctionArn: meta.invokedFunctionArn,
    awsRequestId: invocation.id,
    getRemainingTimeInMillis: () => Math.max(0, event.deadlineMs - Date.now()),
  };
  return context;
}

function bodyOf(result) {
  let text;
  try {
    text = JSON.stringify(result === undefined ? null : result);
  } catch {
    throw new Fault('Runtime.MarshalError', 'Unable to stringify response body');
  }
  // A function or a symbol has no JSON.
  return text === undefined ? 'null' : text;
}

function next() {
  whenIdle = null;
  setImmediate(serve);
}

/// Ends an invocation once, with what `send` writes; what comes later is of no interest.
function over(invocation, send) {
  if (invocation.isOver) {
    return;
  }
  invocation.isOver = true;
  send();
  next();
}

function succeed(invocation, result) {
  over(invocation, () => {
    let body;
    try {
      body = bodyOf(result);
    } catch (error) {
      sendError(invocation, error);
      return;
    }
    control.sendText(control.RESPONSE, invocation.bytes, body);
  });
}

function fail(invocation, error) {
  over(invocation, () => sendError(invocation, error));
}

function sendError(invocation, error) {
  const fault = faultOf(error);
  log.fault('Invoke Error', error, fault);
  control.sendFault(invocation.stream?.hasBegun ? control.STREAM_ERROR : control.ERROR, invocation.bytes, fault);
}

/// For what leaves the process in no state to go on: tells and exits.
function die(title, error, status) {
  const fault = faultOf(error);
  log.fault(title, error, fault);
  if (handler === undefined) {
    control.sendFault(control.INIT_ERROR, null, fault);
  } else if (current !== null && !current.isOver) {
    current.isOver = true;
    control.sendFault(control.FATAL_ERROR, current.bytes, fault);
  }
  process.exit(status);
}

function serve() {
  const event = control.receive();
  current = { id: event.requestId, bytes: event.requestIdBytes, isOver: false, stream: null };
  log.setRequestId(event.requestId);
  trace.set(event.meta.traceId);
  if (modules.hasSockets()) {
    // One turn of the event loop first: it sees which connections were closed while nothing ran.
    setImmediate(start, event, current);
  } else {
    start(event, current);
  }
}

function start(event, invocation) {
  try {
    run(event, invocation);
  } catch (error) {
    fail(invocation, error);
  }
}

function run(event, invocation) {
  let input;
  try {
    input = JSON.parse(event.payload);
  } catch (error) {
    throw new Fault('Runtime.UnmarshalError', `Unable to parse input as JSON: ${error.message}`);
  }
  const context = contextOf(event, invocation);
  if (handler[STREAMING] !== undefined) {
    runStreamed(input, context, invocation);
    return;
  }
  if (!hasCallbacks) {
    const result = handler(input, context);
    whenIdle = () => fail(invocation, new Fault('Runtime.NodeJsExit',
      'The Lambda runtime client detected an unexpected Node.js exit code. This is most commonly caused by a Promise '
      + 'that was never settled. For more information, see https://nodejs.org/docs/latest/api/process.html#exit-codes'));
    settle(result, invocation);
    return;
  }
  const done = (error, result) => {
    const send = () => (error === undefined || error === null ? succeed(invocation, result) : fail(invocation, error));
    if (context.callbackWaitsForEmptyEventLoop && !invocation.isOver) {
      whenIdle = send;
    } else {
      send();
    }
  };
  const now = (error, result) => {
    context.callbackWaitsForEmptyEventLoop = false;
    done(error, result);
  };
  context.done = now;
  context.succeed = (result) => now(null, result);
  context.fail = (error) => now(error === undefined || error === null ? 'handled' : error);
  // A handler whose work is over without an answer has answered nothing.
  whenIdle = () => succeed(invocation, null);
  const result = handler(input, context, done);
  if (typeof result?.then === 'function') {
    settle(result, invocation);
  }
}

function settle(result, invocation) {
  if (typeof result?.then === 'function') {
    result.then((value) => succeed(invocation, value), (error) => fail(invocation, error));
  } else {
    succeed(invocation, result);
  }
}

function runStreamed(input, context, invocation) {
  const { ResponseStream } = require('./stream');
  const stream = new ResponseStream(
    control, invocation, handler[Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark')]);
  invocation.stream = stream;
  const end = () => over(invocation, () => stream.complete());
  stream.once('error', (error) => fail(invocation, error));
  const result = handler(input, stream, context);
  if (typeof result?.then !== 'function') {
    throw new Fault('Runtime.StreamError', 'Streaming does not support non-async handlers.');
  }
  result.then(() => {
    if (stream.writableFinished) {
      end();
    } else {
      stream.once('finish', end);
      // Nobody is left who could end it.
      whenIdle = end;
    }
  }, (error) => fail(invocation, error));
  whenIdle = end;
}

process.on('beforeExit', () => {
  if (whenIdle !== null) {
    const then = whenIdle;
    whenIdle = null;
    setImmediate(then);
  }
});
process.on('uncaughtException', (error) => die('Uncaught Exception', error, 129));
process.on('unhandledRejection', (reason) => {
  const fault = new Fault('Runtime.UnhandledPromiseRejection', String(reason?.toString?.() ?? reason));
  fault.reason = reason;
  if (typeof reason?.stack === 'string') {
    fault.stack = `Runtime.UnhandledPromiseRejection: ${fault.message}\n${reason.stack.split('\n').slice(1).join('\n')}`;
  }
  die('Unhandled Promise Rejection', fault, 128);
});

const load = require('./load');
const cache = require('./cache');

/// Loads the function for its code alone, which goes to descriptor 3.
async function learn() {
  log.install();
  const made = cache.record();
  await load.load(env.LAMBDA_TASK_ROOT, env._HANDLER ?? '');
  const code = made();
  if (code === null) {
    throw new Error('there is no code that can be kept');
  }
  control.writeAll(control.FD, code);
  process.reallyExit(0);
}

function boot() {
  control.send(control.BOOTED);
  const told = control.receiveConfiguration();
  Object.assign(env, told.variables);
  if (told.handler !== undefined) {
    // What was the working folder at the start may have been mounted over since.
    process.chdir(env.LAMBDA_TASK_ROOT);
  }
  readVariables();
  trace.install();
  hasCallbacks = !(Number(/nodejs(\d+)/.exec(env.AWS_EXECUTION_ENV || '')?.[1]) >= 24);
  log.install();
  cache.use();
  // One that was started with its variables goes by them: a wrapper script may have changed the handler.
  load.load(env.LAMBDA_TASK_ROOT, told.handler ?? env._HANDLER ?? '').then((loaded) => {
    if (!hasCallbacks && loaded[STREAMING] === undefined && loaded.length >= 3) {
      throw new Fault('Runtime.CallbackHandlerDeprecated',
        'AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. You will need to '
        + 'modify this function to use a supported handler signature to use Node.js 24 or later. For more information see '
        + 'https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html');
    }
    handler = loaded;
    control.send(control.READY);
    next();
  }).catch((error) => die('Uncaught Exception', error, 1));
}

if (process.argv[2] === 'learn') {
  learn().catch((error) => {
    control.writeAll(2, Buffer.from(`${error}\n`));
    process.reallyExit(1);
  });
} else {
  boot();
}
