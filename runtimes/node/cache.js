'use strict';
// V8's code of the function's scripts: made once by loading them (`learn`), read whenever they are loaded again.
// CommonJS alone: Node lets nobody in where it compiles ES modules.

const fs = require('fs');
const Module = require('module');
const path = require('path');
const vm = require('vm');

const FILE = '/var/lang/function/code';
const ROOTS = ['/var/task/', '/opt/'];
const [BEFORE, AFTER] = Module.wrapper;
const { main } = require;
// Where there may be an import(), and be it in a string: in a script that came out of its code V8 has forgotten who asks.
const IMPORT = /\bimport\s*[(/]/;

/// The `require` that Node gives a module.
function requireOf(module) {
  function require(id) {
    return module.require(id);
  }
  require.resolve = (request, options) => Module._resolveFilename(request, module, false, options);
  require.resolve.paths = (request) => Module._resolveLookupPaths(request, module);
  require.main = main;
  require.extensions = Module._extensions;
  require.cache = Module._cache;
  return require;
}

/// Has Node compile what `scriptOf(content, filename)` gives a script for by that, and all else as ever.
function install(scriptOf) {
  const compile = Module.prototype._compile;
  Module.prototype._compile = function _compile(content, filename, ...rest) {
    const script = rest[0] === 'module' ? undefined : scriptOf(content, filename);
    if (script === undefined) {
      return Reflect.apply(compile, this, [content, filename, ...rest]);
    }
    const wrapped = script.runInThisContext({ displayErrors: true });
    return Reflect.apply(wrapped, this.exports,
      [this.exports, requireOf(this), this, filename, path.dirname(filename)]);
  };
}

function scriptOf(content, filename, cachedData) {
  // What starts a script on a command line is allowed at its very beginning alone.
  const text = content.startsWith('#!') ? `//${content.slice(2)}` : content;
  return new vm.Script(BEFORE + text + AFTER, {
    filename,
    columnOffset: -BEFORE.length,
    cachedData,
  });
}

/// Whether this is what the file holds. V8 compares lengths alone, and a hook of the function's own may have changed it.
function isOf(content, filename) {
  let text = fs.readFileSync(filename, 'utf8');
  if (text.charCodeAt(0) === 0xfeff) {
    text = text.slice(1);
  }
  return text === content;
}

/// Uses what was made, if anything was.
exports.use = (file = FILE) => {
  let code;
  let table;
  try {
    const bytes = fs.readFileSync(file);
    const from = 4 + bytes.readUInt32LE(0);
    code = bytes.subarray(from);
    table = new Map(JSON.parse(bytes.toString('utf8', 4, from)));
  } catch {
    // There is none, or the function has put something else there.
    return;
  }
  install((content, filename) => {
    const place = table.get(filename);
    if (!Array.isArray(place) || !isOf(content, filename)) {
      return undefined;
    }
    // Code of another V8, or of another's settings, is not used: it is compiled anew.
    return scriptOf(content, filename, code.subarray(place[0], place[0] + place[1]));
  });
};

/// Keeps scripts that are loaded from now on, and gives back what makes their code.
exports.record = (roots = ROOTS) => {
  const scripts = new Map();
  install((content, filename) => {
    if (!roots.some((root) => filename.startsWith(root)) || IMPORT.test(content) || !isOf(content, filename)) {
      return undefined;
    }
    try {
      const script = scriptOf(content, filename);
      scripts.set(filename, script);
      return script;
    } catch {
      // Node says it better.
      return undefined;
    }
  });
  return () => {
    const table = [];
    const parts = [];
    let at = 0;
    for (const [filename, script] of scripts) {
      const code = script.createCachedData();
      table.push([filename, [at, code.length]]);
      parts.push(code);
      at += code.length;
    }
    const text = Buffer.from(JSON.stringify(table));
    const head = Buffer.alloc(4);
    head.writeUInt32LE(text.length);
    return scripts.size === 0 ? null : Buffer.concat([head, text, ...parts]);
  };
};
