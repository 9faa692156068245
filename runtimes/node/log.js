'use strict';
// `console` as Lambda has it: lines with time, request and level, or JSON records.

const util = require('util');
const { writeAll } = require('./control');

const LEVELS = { TRACE: 1, DEBUG: 2, INFO: 3, WARN: 4, ERROR: 5, FATAL: 6 };

let isJson = false;
let least = 0;
let requestId;

exports.setRequestId = (id) => {
  requestId = id;
};

// One event, not one for each line.
function write(text) {
  writeAll(1, Buffer.from(`${text.replace(/\n/g, '\r')}\n`));
}

function fieldsOf(error) {
  return {
    errorType: error?.constructor?.name ?? 'UnknownError',
    errorMessage: error.message,
    stackTrace: typeof error.stack === 'string' ? error.stack.split('\n') : [],
  };
}

function record(level, values) {
  const result = { timestamp: new Date().toISOString(), level, requestId };
  if (values.length === 1) {
    [result.message] = values;
    try {
      return JSON.stringify(result, (_, value) =>
        (value instanceof Error ? { ...fieldsOf(value), ...value } : value));
    } catch {
      result.message = util.format(values[0]);
      return JSON.stringify(result);
    }
  }
  result.message = util.format(...values);
  const error = values.find((value) => value instanceof Error);
  return JSON.stringify(error === undefined ? result : { ...result, ...fieldsOf(error) });
}

function line(level, values) {
  if (LEVELS[level] < least) {
    return;
  }
  write(isJson ? record(level, values)
    : `${new Date().toISOString()}\t${requestId}\t${level}\t${util.format(...values)}`);
}

/// Puts Lambda's `console` in place, as the variables say.
exports.install = () => {
  isJson = process.env.AWS_LAMBDA_LOG_FORMAT === 'JSON';
  least = isJson ? LEVELS[process.env.AWS_LAMBDA_LOG_LEVEL] || LEVELS.INFO : 0;
  const levels = { log: 'INFO', info: 'INFO', debug: 'DEBUG', warn: 'WARN', error: 'ERROR', fatal: 'FATAL' };
  for (const [name, level] of Object.entries(levels)) {
    console[name] = (...values) => line(level, values);
  }
  console.trace = (...values) => {
    const trace = { name: 'Trace', message: util.format(...values) };
    Error.captureStackTrace(trace, console.trace);
    line('TRACE', [trace.stack]);
  };
};

/// The line that Lambda logs about a failure.
exports.fault = (title, error, fault) => {
  if (isJson) {
    write(JSON.stringify({
      timestamp: new Date().toISOString(), level: 'ERROR', requestId,
      message: { errorType: fault.errorType, errorMessage: fault.errorMessage, stackTrace: fault.trace },
    }));
    return;
  }
  let shown;
  try {
    const own = typeof error === 'object' ? error : {};
    shown = JSON.stringify({
      errorType: fault.errorType, errorMessage: fault.errorMessage, ...own, name: undefined, stack: fault.trace,
    });
  } catch {
    shown = JSON.stringify(fault);
  }
  write(`${new Date().toISOString()}\t${requestId}\tERROR\t${title} \t${shown}`);
};
