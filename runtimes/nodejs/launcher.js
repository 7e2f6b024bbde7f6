'use strict';
// Launcher of the nodejs kinds: owns one action inside a sandbox and answers frames on fd 3.
//
// A frame is u32 length (big endian, of all that follows), u8 kind, 16 bytes of activation id, payload.
// Order of events: Hello out; Init in, Initialized or DeveloperError out; then Run in, Result or
// DeveloperError out, as often as asked, and where runs overlap Log out. End of file on fd 3 ends the process.
//
// Only what a stem cell needs is loaded here; everything else is required when first used, because the
// time until Hello is part of every cold start; so are the files beside this one. V8 flags on the command line
// would make node discard its built-in code cache, so `gc` is provided lazily instead of by `--expose-gc`.

const fs = require('fs');
const Module = require('module');
const path = require('path');

const CHANNEL = 3;
const HEADER_LENGTH = 21;
const MAX_PAYLOAD = 256 * 1024 * 1024;
const Kind = { Hello: 1, Init: 2, Initialized: 3, Run: 4, Result: 5, DeveloperError: 6, Log: 7 };
/** Activation ids are kept as texts of one character a byte. */
const NO_ACTIVATION = '\0'.repeat(16);
/** Longest frame that is written at once, whoever waits for it; longer ones may have to wait for their reader. */
const MAX_WRITE = 64 * 1024;
/** Environment names that belong to one activation, by what runs call them; grows with every name a run brings. */
const activationNames = new Map(['namespace', 'action_name', 'action_version', 'activation_id',
  'transaction_id', 'deadline', 'api_key'].map((key) => [key, environmentName(key)]));
/** What they were last set to: `undefined` where one was taken away. Setting one is slow, and few change. */
const activationEnvironment = new Map();

// ---- channel ------------------------------------------------------------------------------------

/** A header for `size` bytes of payload, with `room` for the first of them behind it. */
function encodeHeader(kind, activationId, size, room) {
  const header = Buffer.allocUnsafe(HEADER_LENGTH + room);
  header.writeUInt32BE(HEADER_LENGTH - 4 + size, 0);
  header[4] = kind;
  header.write(activationId, 5, 'latin1');
  return header;
}

function encodeFrame(kind, activationId, text) {
  const size = Buffer.byteLength(text);
  const frame = encodeHeader(kind, activationId, size, size);
  frame.write(text, HEADER_LENGTH);
  return frame;
}

/** Calls `onFrame(kind, activationId, text)` for every whole frame that is fed to it. */
class FrameReader {
  constructor(onFrame) {
    this.onFrame = onFrame;
    /** What there is of a frame that has not come as a whole. */
    this.partial = undefined;
    this.filled = 0;
  }

  feed(bytes) {
    let offset = 0;
    while (offset < bytes.length) {
      if (this.partial) offset += this.fill(bytes, offset);
      else if (bytes.length - offset < HEADER_LENGTH) offset += this.begin(HEADER_LENGTH, bytes, offset);
      else {
        const end = offset + frameLength(bytes, offset);
        offset += end <= bytes.length ? this.complete(bytes, offset, end) : this.begin(end - offset, bytes, offset);
      }
    }
  }

  begin(length, bytes, offset) {
    this.partial = Buffer.allocUnsafe(length);
    this.filled = 0;
    return this.fill(bytes, offset);
  }

  /** Takes what belongs to the frame that has begun; says how many bytes that were. */
  fill(bytes, offset) {
    const { partial } = this;
    const copied = bytes.copy(partial, this.filled, offset);
    this.filled += copied;
    if (this.filled < partial.length) return copied;
    const length = frameLength(partial, 0);
    if (length > partial.length) {
      // That was its header.
      this.begin(length, partial, 0);
    } else {
      this.partial = undefined;
      this.complete(partial, 0, length);
    }
    return copied;
  }

  complete(bytes, offset, end) {
    const body = offset + HEADER_LENGTH;
    this.onFrame(bytes[offset + 4], bytes.toString('latin1', offset + 5, body), bytes.toString('utf8', body, end));
    return end - offset;
  }
}

/** Length of the frame whose header is here. */
function frameLength(bytes, offset) {
  const size = bytes.readUInt32BE(offset) - (HEADER_LENGTH - 4);
  if (size < 0 || size > MAX_PAYLOAD) fail(`a frame announces ${size} bytes of payload, allowed are 0 to ${MAX_PAYLOAD}`);
  return HEADER_LENGTH + size;
}

/** The peer broke the protocol: nothing that follows on the channel could be trusted. */
function fail(why) {
  fs.writeSync(2, `launcher: ${why}\n`);
  process.exit(70);
}

// ---- texts --------------------------------------------------------------------------------------

/** `String(value)` that survives values which refuse to be converted. */
function describe(value) {
  try {
    return `${value}`;
  } catch {
    return Object.prototype.toString.call(value);
  }
}

function stackOf(error) {
  return describe((error && error.stack) || error);
}

/** The same error, whose stack no longer shows the launcher's own frames. */
function ownFramesOnly(error) {
  const own = `${__dirname}${path.sep}`;
  if (error instanceof Error && typeof error.stack === 'string' && error.stack.includes(own)) {
    try {
      error.stack = error.stack.split('\n').filter((line) => !line.includes(own)).join('\n');
    } catch {
      // a frozen error keeps them
    }
  }
  return error;
}

/** What `JSON.stringify` would lose of an error or choke on, made plain: used for rejections only. */
function serializeError(value, ancestors = []) {
  if (typeof value === 'function') return `[Function: ${value.name || 'anonymous'}]`;
  if (typeof value === 'bigint' || typeof value === 'symbol') return describe(value);
  if (typeof value !== 'object' || value === null) return value;
  if (ancestors.includes(value)) return '[Circular]';
  if (Buffer.isBuffer(value)) return '[object Buffer]';
  if (typeof value.pipe === 'function') return '[object Stream]';
  if (typeof value.toJSON === 'function') return value.toJSON();
  const chain = [...ancestors, value];
  const result = Array.isArray(value) ? [] : {};
  for (const [key, item] of Object.entries(value)) {
    if (typeof item !== 'function') result[key] = serializeError(item, chain);
  }
  for (const key of ['name', 'message', 'stack', 'code', 'cause']) {
    if (value instanceof Error && value[key] !== undefined) result[key] = serializeError(value[key], chain);
  }
  return result;
}

// ---- the action's surroundings ------------------------------------------------------------------

function setEnvironment(name, value) {
  if (typeof value === 'string') process.env[name] = value;
  else if (value === null || value === undefined) process.env[name] = '';
  else process.env[name] = typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function environmentName(key) {
  return `__OW_${key.toUpperCase()}`;
}

/** Makes `__OW_*` say what this run says: set what it brings, drop what an earlier one left. */
function refreshActivationEnvironment(message) {
  let present = 0;
  for (const key of Object.keys(message)) {
    const value = message[key];
    if (key === 'value' || typeof value !== 'string') continue;
    if (!activationNames.has(key)) activationNames.set(key, environmentName(key));
    present += 1;
    setActivationEnvironment(activationNames.get(key), value);
  }
  if (present === activationNames.size) return;
  for (const [key, name] of activationNames) {
    if (typeof message[key] !== 'string') setActivationEnvironment(name, undefined);
  }
}

function setActivationEnvironment(name, value) {
  if (activationEnvironment.has(name) && activationEnvironment.get(name) === value) return;
  activationEnvironment.set(name, value);
  if (value === undefined) delete process.env[name];
  else process.env[name] = value;
}

/**
 * Pipes are asynchronous in node; blocking ones keep output ahead of the reply, survive `process.exit`
 * and hold back a function that prints faster than its log is read. Opened when first used.
 */
function useBlockingOutput(name) {
  const { get } = Object.getOwnPropertyDescriptor(process, name);
  Object.defineProperty(process, name, {
    configurable: true,
    enumerable: true,
    get() {
      const stream = get.call(process);
      stream._handle?.setBlocking?.(true);
      Object.defineProperty(process, name, { configurable: true, enumerable: true, get: () => stream });
      return stream;
    },
  });
}

/** `global.gc`, made when somebody looks at it. */
function provideGarbageCollector() {
  Object.defineProperty(globalThis, 'gc', {
    configurable: true,
    get() {
      require('v8').setFlagsFromString('--expose-gc');
      const value = require('vm').runInNewContext('gc');
      Object.defineProperty(globalThis, 'gc', { configurable: true, writable: true, value });
      return value;
    },
    set(value) {
      Object.defineProperty(globalThis, 'gc', { configurable: true, writable: true, value });
    },
  });
}

/** Lets `require` find what was installed with `npm ci --prefix $CHASEN_MODULES`, after what the action brings. */
function usePreinstalledModules() {
  const prefix = process.env.CHASEN_MODULES;
  delete process.env.CHASEN_MODULES;
  if (!prefix) return undefined;
  const folder = path.join(prefix, 'node_modules');
  const inherited = process.env.NODE_PATH;
  process.env.NODE_PATH = folder;
  Module._initPaths();
  if (inherited === undefined) delete process.env.NODE_PATH;
  else process.env.NODE_PATH = inherited;
  return folder;
}

/** `import` knows no search path: link the preinstalled packages that the action does not bring. */
function linkPreinstalledModules(folder) {
  if (!preinstalled || !fs.existsSync(preinstalled)) return;
  const target = path.join(folder, 'node_modules');
  fs.mkdirSync(target, { recursive: true });
  for (const name of fs.readdirSync(preinstalled)) {
    const link = path.join(target, name);
    if (!name.startsWith('.') && !fs.existsSync(link)) fs.symlinkSync(path.join(preinstalled, name), link);
  }
}

// ---- loading ------------------------------------------------------------------------------------

function entryAt(root, keys) {
  return keys.reduce((value, key) => (value === undefined || value === null ? undefined : value[key]), root);
}

/**
 * Evaluates a single source text as sloppy code in a module's function scope. `main` is pasted as an
 * expression, so that it finds local and global names alike; module exports are the fallback. What is not
 * JavaScript may be TypeScript, which is a module like any other, and what is neither may be an ES module.
 */
async function loadSource(folder, main) {
  const file = path.join(folder, 'exec');
  const code = fs.readFileSync(file, 'utf8');
  if (code.includes('import(')) linkPreinstalledModules(folder);
  const module = new Module(file);
  const { exports } = module;
  module.filename = file;
  module.paths = Module._nodeModulePaths(folder);
  const lookup = `(() => { try { return ${main} } catch (e) { if (e.name !== 'ReferenceError') throw e } })()`;
  const keys = main.split('.');
  module.source = `${code}\n;${lookup}\n//# sourceURL=${file}`;
  try {
    module._compile('module.entry = eval(module.source)', file);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    let text;
    try {
      text = require('./typescript.js').translateSource(code, folder, error, preinstalled);
    } catch (failure) {
      // One that the code threw is its own.
      if (failure === error || !(failure instanceof SyntaxError)) throw failure;
      linkPreinstalledModules(folder);
      const namespace = await require('./syntax.js').importSource(code, lookup, folder, failure);
      return namespace.entry__ ?? entryAt(namespace, keys) ?? entryAt(namespace.default, keys);
    }
    module._compile(`${text}\n;module.entry = ${lookup}`, `${file}.ts`);
  }
  delete module.source;
  return module.entry ?? entryAt(module.exports, keys) ?? entryAt(exports, keys) ?? entryAt(module.exports?.default, keys);
}

/** `package.json` of an archive; `{}` without one. */
function readManifest(folder) {
  const file = path.join(folder, 'package.json');
  if (!fs.existsSync(file)) return {};
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8')) ?? {};
  } catch (error) {
    throw `package.json is not readable: ${describe(error.message)}`;
  }
}

function isEsModule(manifest, file) {
  return file.endsWith('.mjs') || (file.endsWith('.js') && manifest.type === 'module');
}

/** The file of JavaScript that `target` means, made from TypeScript where that is what there is. */
function resolveEntry(userRequire, folder, target, manifest, name) {
  let file;
  let missing;
  try {
    file = userRequire.resolve(target);
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error;
    missing = error;
  }
  if (file && !/\.[cm]?tsx?$/.test(file)) return file;
  const typescript = require('./typescript.js');
  const isFresh = typescript.translateArchive(folder, manifest.type === 'module', preinstalled);
  if (missing && !isFresh) throw missing;
  const translated = file ? typescript.translated(file) : userRequire.resolve(target);
  // A function need not be exported to be found.
  if (isFresh && /^[\w$]+$/.test(name) && !isEsModule(manifest, translated)) {
    fs.appendFileSync(translated, `\n;try { module.exports.${name} ??= ${name} } catch {}`);
  }
  return translated;
}

/** Loads an unpacked archive: `main` is `function` of the package, or `file.function[.property…]`. */
async function loadArchive(folder, main) {
  const userRequire = Module.createRequire(path.join(folder, 'package.json'));
  const dot = main.indexOf('.');
  // Thrown as text: these reach the caller without a stack.
  if (dot < 0 && !['package.json', 'index.js', 'index.ts'].some((name) => fs.existsSync(path.join(folder, name)))) {
    throw 'Zipped actions must contain either package.json or index.js at the root.';
  }
  const manifest = readManifest(folder);
  if (manifest.dependencies) {
    const { install, isNeeded } = require('./install.js');
    if (isNeeded(folder, manifest)) await install(folder);
  }
  const keys = main.slice(dot + 1).split('.');
  const target = dot < 0 ? folder : path.join(folder, main.slice(0, dot));
  const file = resolveEntry(userRequire, folder, target, manifest, keys[0]);
  if (!isEsModule(manifest, file)) return entryAt(userRequire(file), keys);
  linkPreinstalledModules(folder);
  let namespace;
  try {
    namespace = await import(require('url').pathToFileURL(file).href);
  } catch (error) {
    throw error instanceof SyntaxError ? require('./syntax.js').moduleError(error, folder, file) : error;
  }
  return entryAt(namespace, keys) ?? entryAt(namespace.default, keys);
}

async function load({ main = 'main', binary, env, path: folder = '/action' }) {
  process.chdir(folder);
  for (const [name, value] of Object.entries(env ?? {})) setEnvironment(name, value);
  return binary ? loadArchive(folder, main) : loadSource(folder, main);
}

// ---- answering ----------------------------------------------------------------------------------

const State = { ready: 'ready', starting: 'starting', running: 'running', stopped: 'stopped' };

class Launcher {
  constructor(send) {
    this.send = send;
    this.state = State.ready;
    this.main = undefined;
    /** Acts for a run, where output is attributed to runs. */
    this.within = undefined;
  }

  receive(kind, activationId, text) {
    const run = { activationId, ended: false };
    const answer = (replyKind, reply) => this.send(replyKind, run, reply);
    const refuse = (error) => answer(Kind.DeveloperError, JSON.stringify({ error }));
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return refuse('Bad request.');
    }
    if (typeof message !== 'object' || message === null) return refuse('Bad request.');
    if (kind === Kind.Init) return this.init(message.value ?? {}, answer, refuse);
    if (kind === Kind.Run && this.within) return this.within(run, () => this.run(message, answer, refuse));
    if (kind === Kind.Run) return this.run(message, answer, refuse);
    return fail(`frames of kind ${kind} are not for a launcher`);
  }

  refuseLoudly(refuse, why) {
    console.error(`Internal system error: ${why}`);
    refuse(why);
  }

  async init(action, answer, refuse) {
    if (this.main) return this.refuseLoudly(refuse, 'Cannot initialize the action more than once.');
    if (this.state !== State.ready) return this.refuseLoudly(refuse, `System not ready, status is ${this.state}.`);
    if (!hasCode(action)) return refuse('Missing main/no code to execute.');
    this.state = State.starting;
    try {
      const entry = await load(action);
      if (typeof entry !== 'function') throw `Action entrypoint '${action.main ?? 'main'}' is not a function.`;
      this.main = entry;
      this.state = State.ready;
      answer(Kind.Initialized, '');
      if (action.concurrency > 1) this.overlap();
    } catch (error) {
      this.state = State.stopped;
      console.error('Error during initialization:', ownFramesOnly(error));
      refuse(`Initialization has failed due to: ${stackOf(error)}`);
    }
  }

  /** From now on runs overlap and output is attributed. */
  overlap() {
    const wire = { CHANNEL, HEADER_LENGTH, Kind, encodeHeader, encodeFrame };
    Object.assign(this, require('./concurrency.js').overlap(wire));
  }

  run(message, answer, refuse) {
    const { main } = this;
    if (!main) return this.refuseLoudly(refuse, 'System not initialized.');
    if (this.state !== State.ready) return this.refuseLoudly(refuse, `System not ready, status is ${this.state}.`);
    const args = message.value ?? {};
    if (typeof args !== 'object') {
      const why = `Internal system error: the argument must be a dictionary but has type '${typeof args}'.`;
      console.error(why);
      return refuse(why);
    }
    refreshActivationEnvironment(message);
    if (!this.within && !sharedLogs) this.state = State.running;
    let outcome;
    try {
      outcome = main(args);
    } catch (error) {
      // Others in flight did nothing wrong, nor those that were sent before the platform knew.
      if (!this.within) this.state = State.stopped;
      console.error(ownFramesOnly(error));
      return refuse(`An error has occurred: ${describe(error)}`);
    }
    // Whatever is printed before the replies go out together still counts: nothing needs to be waited for.
    if (this.within && !isThenable(outcome)) return replyResult(outcome, answer, refuse);
    const end = (reply) => (value) => {
      if (this.state === State.running) this.state = State.ready;
      reply(value, answer, refuse);
    };
    return Promise.resolve(outcome).then(end(replyResult), end(replyRejection));
  }
}

function hasCode({ main = 'main', binary, path: folder = '/action' }) {
  if (!main) return false;
  return Boolean(binary) || (fs.statSync(path.join(folder, 'exec'), { throwIfNoEntry: false })?.size ?? 0) > 0;
}

function isThenable(value) {
  try {
    return typeof value?.then === 'function';
  } catch {
    return true;
  }
}

function replyResult(value, answer, refuse) {
  const result = value === undefined ? {} : value;
  let text;
  try {
    if (typeof result === 'object') text = JSON.stringify(result);
  } catch (error) {
    console.error(error);
    return refuse(`An error has occurred: ${describe(error)}`);
  }
  if (text === undefined) {
    console.error(`Result must be of type object but has type "${typeof result}":`, result);
    return refuse('The action did not return a dictionary.');
  }
  return answer(Kind.Result, text);
}

function replyRejection(reason, answer) {
  let text;
  try {
    text = JSON.stringify({ error: reason ? serializeError(ownFramesOnly(reason)) : {} });
  } catch {
    text = JSON.stringify({ error: describe(reason) });
  }
  answer(Kind.Result, text);
}

// ---- boot ---------------------------------------------------------------------------------------

useBlockingOutput('stdout');
useBlockingOutput('stderr');
provideGarbageCollector();
const preinstalled = usePreinstalledModules();
/** Whether runs may overlap without being told apart: how a foreign platform asks for it. */
const sharedLogs = /^true$/i.test(process.env.__OW_ALLOW_CONCURRENT ?? '');
fs.writeSync(CHANNEL, encodeFrame(Kind.Hello, NO_ACTIVATION, '{"protocol":1,"concurrent":true}'));

const { Socket } = require('net');
const reader = new FrameReader((...frame) => launcher.receive(...frame));
const channel = new Socket({
  fd: CHANNEL,
  onread: {
    buffer: Buffer.allocUnsafeSlow(64 * 1024),
    callback(count, buffer) {
      reader.feed(buffer.subarray(0, count));
      return true;
    },
  },
});
const launcher = new Launcher((kind, { activationId }, text) => writeFrame(encodeFrame(kind, activationId, text)));

/** Writes a frame, at once if it can be: the stream's way is several times as long. */
function writeFrame(frame) {
  let rest = frame;
  if (frame.length <= MAX_WRITE && channel.writableLength === 0) {
    try {
      rest = frame.subarray(fs.writeSync(CHANNEL, frame));
    } catch (error) {
      // Nobody reads any more.
      if (error.code !== 'EAGAIN') return process.exit(0);
    }
  }
  if (rest.length > 0) channel.write(rest);
}

channel.on('error', () => process.exit(0));
channel.on('end', () => process.exit(0));
channel.resume();
