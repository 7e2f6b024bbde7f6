'use strict';
// TypeScript, made JavaScript by esbuild, with maps by which errors name the lines that were written. Types are
// dropped, not checked. Loaded only for code that turned out not to be JavaScript.

const { spawnSync } = require('child_process');
const fs = require('fs');
const Module = require('module');
const path = require('path');

const { filesOf, scriptError } = require('./syntax.js');

/** Extensions by what they become, and in which form: that of the package where it says `undefined`. */
const GROUPS = [
  { pattern: /\.tsx?$/, extension: '.js', format: undefined },
  { pattern: /\.cts$/, extension: '.cjs', format: 'cjs' },
  { pattern: /\.mts$/, extension: '.mjs', format: 'esm' },
];
/** Most that esbuild gives back, in bytes. */
const MAX_OUTPUT = 256 * 1024 * 1024;

/** The program of esbuild; `undefined` where there is none. */
function esbuild(folder, preinstalled) {
  const name = `@esbuild/linux-${process.arch}/bin/esbuild`;
  const pinned = preinstalled && path.join(preinstalled, name);
  if (pinned && fs.existsSync(pinned)) return pinned;
  try {
    return Module.createRequire(path.join(folder, 'package.json')).resolve(name);
  } catch {
    return undefined;
  }
}

/** Runs esbuild in `cwd`; throws what it complains of, as a SyntaxError with a `line`. */
function run(program, cwd, args, input) {
  const target = `--target=node${process.versions.node.split('.')[0]}`;
  const usual = ['--platform=node', target, '--sourcemap=inline', '--log-level=error', '--color=false'];
  const { error, status, stdout, stderr } = spawnSync(program, [...usual, ...args], { cwd, input, maxBuffer: MAX_OUTPUT });
  if (error) throw error;
  if (status === 0) return stdout.toString();
  throw complaint(stderr.toString());
}

/** The first error of what esbuild says: `✘ [ERROR] message`, then `    file:line:column:` and an excerpt. */
function complaint(text) {
  const [, message, file, line, column] = /\[ERROR\] (.*)\n(?:\n +(\S+):(\d+):(\d+):)?/.exec(text) ?? [, text.trim()];
  const error = new SyntaxError(message);
  const place = file ? `\n    at ${file}:${line}:${Number(column) + 1}` : '';
  error.stack = `SyntaxError: ${message}${place}`;
  return Object.defineProperty(error, 'line', { value: Number(line ?? 0), enumerable: false });
}

/**
 * The JavaScript of a single source that failed with `failure`. Throws that, if the code threw it; else what is
 * wrong with the code, by the language that understands more of it.
 */
function translateSource(code, folder, failure, preinstalled) {
  const javascript = scriptError(code, path.join(folder, 'exec'));
  if (!javascript) throw failure;
  const program = esbuild(folder, preinstalled);
  if (!program) {
    javascript.stack += '\nIt was not tried as TypeScript: esbuild is not installed here.';
    throw javascript;
  }
  try {
    const text = run(program, folder, ['--loader=ts', '--format=cjs', '--sourcefile=exec.ts'], code);
    process.setSourceMapsEnabled(true);
    return text;
  } catch (typescript) {
    if (!(typescript instanceof SyntaxError) || typescript.line > javascript.line) throw typescript;
    javascript.stack += `\nAs TypeScript: ${typescript.message}`;
    throw javascript;
  }
}

/** Puts JavaScript beside every TypeScript file of an archive that has none yet. False if there was nothing to do. */
function translateArchive(folder, isModule, preinstalled) {
  const files = filesOf(folder);
  const present = new Set(files);
  let any = false;
  for (const { pattern, extension, format = isModule ? 'esm' : 'cjs' } of GROUPS) {
    const isWanted = (file) => pattern.test(file) && !/\.d\.[cm]?ts$/.test(file) && !present.has(file.replace(pattern, extension));
    const wanted = files.filter(isWanted);
    if (wanted.length === 0) continue;
    const program = esbuild(folder, preinstalled);
    if (!program) throw 'The archive holds TypeScript, but esbuild is not installed here: compile it to JavaScript first.';
    const names = wanted.map((file) => `./${file}`);
    run(program, folder, ['--outdir=.', '--outbase=.', `--format=${format}`, `--out-extension:.js=${extension}`, ...names]);
    any = true;
  }
  if (any) process.setSourceMapsEnabled(true);
  return any;
}

/** The JavaScript file that a file of TypeScript was translated to; `undefined` for other files. */
function translated(file) {
  const group = GROUPS.find(({ pattern }) => pattern.test(file));
  return group && file.replace(group.pattern, group.extension);
}

module.exports = { translateArchive, translateSource, translated };
