'use strict';
// Error documents as Lambda writes them.

/// A failure that the runtime itself found, with Lambda's name for it.
class Fault extends Error {
  constructor(kind, message) {
    super(message);
    this.name = kind;
  }
}

exports.Fault = Fault;

/// `{ errorType, errorMessage, trace }` of whatever was thrown.
exports.faultOf = (error) => {
  try {
    if (error instanceof Error || typeof error?.stack === 'string') {
      const errorType = typeof error.name === 'string' && error.name !== '' ? error.name : 'Error';
      const trace = typeof error.stack === 'string' ? error.stack.split('\n') : [];
      // eslint-disable-next-line no-control-regex
      return { errorType: errorType.replace(/[\x00-\x1f\x7f-\x9f]/g, ' '), errorMessage: String(error.message), trace };
    }
    return { errorType: typeof error, errorMessage: String(error), trace: [] };
  } catch {
    // A getter or a `toString` of the function's own has thrown.
    return { errorType: 'handled', errorMessage: 'handled', trace: [] };
  }
};
