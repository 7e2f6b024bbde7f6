'use strict';
// `npm install` for an archive that lists dependencies and does not bring them, before it is loaded. Loaded for
// such archives only. Platforms that prepare code ahead of its containers have done it by then.

const { spawn } = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');

/** Most of npm's words that are kept for the log, in bytes; the last ones say what failed. */
const MAX_WORDS = 64 * 1024;
const ARGUMENTS = ['install', '--omit=dev', '--no-audit', '--no-fund', '--no-update-notifier', '--loglevel=error'];

/** True if the package names dependencies that are not there, and installing is not switched off. */
function isNeeded(folder, manifest) {
  const { dependencies } = manifest;
  const isWanted = /^true$/.test(process.env.OW_ENABLE_INIT_INSTALL ?? 'true');
  const lists = typeof dependencies === 'object' && dependencies !== null && Object.keys(dependencies).length > 0;
  return lists && isWanted && !fs.existsSync(path.join(folder, 'node_modules'));
}

/** Ends when npm has ended; npm's words go to the log if it failed. */
async function install(folder) {
  const cache = fs.mkdtempSync(path.join(os.tmpdir(), 'npm-'));
  try {
    const { code, signal, words } = await npm(folder, ['--cache', cache]);
    if (code === 0) return;
    console.error(words);
    throw `npm install failed with ${signal ?? `exit code ${code}`}. See logs for details.`;
  } finally {
    fs.rmSync(cache, { recursive: true, force: true });
  }
}

function npm(folder, more) {
  return new Promise((resolve, reject) => {
    const child = spawn('npm', [...ARGUMENTS, ...more], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    let words = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => { words = (words + text).slice(-MAX_WORDS) });
    }
    child.on('error', () => reject('The archive lists dependencies and brings no node_modules, but npm is not installed here: put node_modules into the archive.'));
    child.on('close', (code, signal) => resolve({ code, signal, words: words.trim() }));
  });
}

module.exports = { install, isNeeded };
