'use strict';
// The trace of the event that runs, as the variable that it is on Lambda.
//
// The C library keeps every value that a variable was ever given, and looks among all of them before it takes another:
// a trace for each event would cost the more the more there were. So it stands behind the variables, where whoever reads
// it by its name finds it, and is among them only where somebody else may look there: other processes and threads.

const modules = require('./modules');

const NAME = '_X_AMZN_TRACE_ID';
const { env } = process;
const { hasOwn } = Object;

let current;

/// Puts it behind the variables.
exports.install = () => {
  const behind = Object.create(Object.getPrototypeOf(env), {
    [NAME]: { get: () => current, enumerable: true, configurable: true },
  });
  Object.setPrototypeOf(env, behind);
};

exports.set = (trace) => {
  current = trace;
  if (trace === undefined) {
    delete env[NAME];
  } else if (modules.hasOthers() || hasOwn(env, NAME)) {
    env[NAME] = trace;
  }
};
