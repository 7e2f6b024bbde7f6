'use strict';
// Where code is no script: ES modules in a single source, and errors of syntax with the place, which Node keeps for
// processes that die of them. Loaded only once there is such an error.

const { spawnSync } = require('child_process');
const fs = require('fs');
const path = require('path');
const { pathToFileURL } = require('url');
const vm = require('vm');

/** Files of an archive that are looked at. */
const MAX_FILES = 10_000;
/** Modules that are checked one by one, which takes a process each. */
const MAX_MODULES = 20;
/** Most of a line that an error repeats, in characters. */
const MAX_LINE = 200;

/** Gives a SyntaxError the lines that V8 printed of it: `file:line`, the source, marks below it. */
function locate(error, printed) {
  const [place = '', ...rest] = printed.split('\n');
  const excerpt = rest.slice(0, 2).map((line) => `    ${line.slice(0, MAX_LINE)}`);
  error.stack = [`${error.name}: ${error.message}`, `    at ${place}`, ...excerpt].join('\n');
  const line = Number(place.slice(place.lastIndexOf(':') + 1));
  return Object.defineProperty(error, 'line', { value: line, enumerable: false });
}

/** Why the script `code` is not JavaScript, with its `line`; `undefined` if it is. */
function scriptError(code, file) {
  try {
    new vm.Script(code, { filename: file });
    return undefined;
  } catch (error) {
    return locate(error, String(error.stack));
  }
}

/** The same error with the place, if one of the modules of the archive, `entry` first, is the cause. */
function moduleError(error, folder, entry) {
  const modules = filesOf(folder).map((file) => path.join(folder, file)).filter((file) => /\.m?js$/.test(file) && file !== entry);
  for (const file of [entry, ...modules].slice(0, MAX_MODULES)) {
    const { status, stderr } = spawnSync(process.execPath, ['--check', file], { encoding: 'utf8' });
    if (status !== 0 && stderr?.includes(error.message)) return locate(error, stderr);
  }
  return error;
}

/** Imports a single source as an ES module that exports what `lookup` finds as `entry__`. Throws `failure` if it is none. */
async function importSource(code, lookup, folder, failure) {
  const file = path.join(folder, 'exec.mjs');
  fs.writeFileSync(file, `${code}\n;export const entry__ = ${lookup};\n`);
  try {
    return await import(pathToFileURL(file).href);
  } catch (error) {
    throw error instanceof SyntaxError ? failure : error;
  }
}

/** Names of all files below `folder` that the archive brought itself, relative to it. */
function filesOf(folder) {
  const files = [];
  const folders = [''];
  for (let at = folders.pop(); at !== undefined && files.length < MAX_FILES; at = folders.pop()) {
    for (const entry of fs.readdirSync(path.join(folder, at), { withFileTypes: true })) {
      const name = path.join(at, entry.name);
      if (entry.isDirectory() && entry.name !== 'node_modules') folders.push(name);
      else if (entry.isFile()) files.push(name);
    }
  }
  return files;
}

module.exports = { filesOf, importSource, moduleError, scriptError };
