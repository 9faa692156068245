'use strict';
// Finds the handler: `folder/module.function`, in CommonJS or as an ES module.

const fs = require('fs');
const path = require('path');
const { pathToFileURL } = require('url');
const { Fault } = require('./faults');

function split(handler) {
  if (handler.includes('..')) {
    throw new Fault('Runtime.MalformedHandlerName',
      `'${handler}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`);
  }
  const match = /^([^.]*)\.(.+)$/.exec(path.basename(handler));
  if (match === null || match[1] === '') {
    throw new Fault('Runtime.MalformedHandlerName', 'Bad handler');
  }
  return { folder: path.dirname(handler), module: match[1], names: match[2].split('.') };
}

function isFile(file) {
  return fs.statSync(file, { throwIfNoEntry: false })?.isFile() === true;
}

/// Whether the nearest package.json makes `.js` files ES modules.
function isInModulePackage(folder, root) {
  for (let at = folder; ; at = path.dirname(at)) {
    const file = path.join(at, 'package.json');
    if (isFile(file)) {
      try {
        return JSON.parse(fs.readFileSync(file, 'utf8')).type === 'module';
      } catch {
        return false;
      }
    }
    if (at === root || at === path.dirname(at)) {
      return false;
    }
  }
}

async function loadModule(root, folder, name) {
  const base = path.resolve(root, folder, name);
  if (isFile(`${base}.js`) && !isInModulePackage(path.dirname(base), root)) {
    return require(`${base}.js`);
  }
  for (const file of [`${base}.js`, `${base}.mjs`]) {
    if (isFile(file)) {
      return import(pathToFileURL(file).href);
    }
  }
  if (isFile(`${base}.cjs`)) {
    return require(`${base}.cjs`);
  }
  // A folder, a package, or nothing at all, which this then says.
  const request = folder === '.' ? name : `${folder}/${name}`;
  return require(require.resolve(fs.existsSync(base) ? base : request, { paths: [root, path.resolve(root, folder)] }));
}

/// Loads the module and takes the handler out of it.
exports.load = async (root, handler) => {
  const { folder, module, names } = split(handler);
  let found;
  try {
    found = await loadModule(root, folder, module);
  } catch (error) {
    if (error?.code === 'MODULE_NOT_FOUND' || error?.code === 'ERR_MODULE_NOT_FOUND' || error?.code === 'ENOENT') {
      throw Object.assign(new Fault('Runtime.ImportModuleError', String(error)), { stack: `Runtime.ImportModuleError: ${error.stack}` });
    }
    if (error instanceof SyntaxError) {
      throw Object.assign(new Fault('Runtime.UserCodeSyntaxError', String(error)), { stack: `Runtime.UserCodeSyntaxError: ${error.stack}` });
    }
    throw error;
  }
  for (const name of names) {
    // What a CommonJS module exports stands below `default` when it was imported.
    found = found?.[name] ?? found?.default?.[name];
  }
  if (found === undefined || found === null) {
    throw new Fault('Runtime.HandlerNotFound', `${handler} is undefined or not exported`);
  }
  if (typeof found !== 'function') {
    throw new Fault('Runtime.HandlerNotFound', `${handler} is not a function`);
  }
  return found;
};
