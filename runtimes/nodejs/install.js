'use strict';
// `npm install` for an archive that lists dependencies and does not bring them. The launcher does it before it loads
// such an archive. A platform that prepares code ahead of its containers does it then, with this file as a program,
// `install.js SOURCE BIN`, and the launcher finds `node_modules` there.

const { spawn } = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');

/** Most of npm's words that are kept, in characters; the last ones say what failed. */
const MAX_WORDS = 32 * 1024;
const ARGUMENTS = ['install', '--omit=dev', '--no-audit', '--no-fund', '--no-update-notifier', '--loglevel=error'];
/** Thrown as text: what whoever invokes the action is told. */
const FAILED = 'npm install failed. See logs for details.';
const NO_NPM = 'The archive lists dependencies and brings no node_modules, and npm is not installed here: put node_modules into the archive.';

/** True if the package names dependencies that are not there, and installing is not switched off. */
function isNeeded(folder, { dependencies }) {
  const lists = typeof dependencies === 'object' && dependencies !== null && Object.keys(dependencies).length > 0;
  const isOn = (process.env.OW_ENABLE_INIT_INSTALL ?? 'true') === 'true';
  return lists && isOn && !fs.existsSync(path.join(folder, 'node_modules'));
}

/** Installs in `folder`. Throws NO_NPM, or FAILED once the log has what npm said. */
async function install(folder) {
  const cache = fs.mkdtempSync(path.join(os.tmpdir(), 'npm-'));
  try {
    const why = await npm(folder, ['--cache', cache]);
    if (why === undefined) return;
    if (why === NO_NPM) throw NO_NPM;
    console.error(why);
    throw FAILED;
  } finally {
    fs.rmSync(cache, { recursive: true, force: true });
  }
}

/** Why npm failed, with its words; `undefined` if it did not. */
function npm(folder, more) {
  return new Promise((resolve) => {
    const child = spawn('npm', [...ARGUMENTS, ...more], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    let words = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => { words = (words + text).slice(-MAX_WORDS) });
    }
    child.on('error', (error) => resolve(error.code === 'ENOENT' ? NO_NPM : `npm does not start: ${error.message}`));
    child.on('close', (code, signal) => {
      resolve(code === 0 ? undefined : `${words.trim()}\nnpm install ended with ${signal ?? `exit code ${code}`}`.trim());
    });
  });
}

/** Makes `bin` what `source` is, with what it lists. */
async function prepare(source, bin) {
  fs.cpSync(source, bin, { recursive: true, verbatimSymlinks: true });
  await install(bin);
}

if (require.main === module) {
  // What failed has been said.
  prepare(...process.argv.slice(2)).catch((error) => {
    if (error !== FAILED) console.error(error);
    process.exit(1);
  });
}

module.exports = { install, isNeeded };
