'use strict';
// Which of Node's own modules anybody has loaded so far: what nobody has loaded, nobody can have used.

const { moduleLoadList } = process;

let seen = 0;
let hasOthers = false;
let hasSockets = false;

function look() {
  if (moduleLoadList === undefined) {
    hasOthers = true;
    hasSockets = true;
  } else if (moduleLoadList.length !== seen) {
    seen = moduleLoadList.length;
    const has = (name) => moduleLoadList.includes(`NativeModule ${name}`);
    hasOthers = has('child_process') || has('worker_threads');
    hasSockets = hasOthers || has('net') || has('dgram');
  }
}

/// Whether there may be other processes or threads.
exports.hasOthers = () => {
  look();
  return hasOthers;
};

/// Whether there may be connections.
exports.hasSockets = () => {
  look();
  return hasSockets;
};
