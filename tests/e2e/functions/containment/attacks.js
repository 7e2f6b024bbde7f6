// What a hostile function in JavaScript may try. Every attack is bounded: where it succeeds it stops by itself.
// Answers {"escaped": bool, "how": text}; an attack that is stopped by the end of its sandbox answers nothing.
const fs = require('fs');
const net = require('net');
const { spawn, spawnSync } = require('child_process');
const { Worker } = require('worker_threads');

const MEGABYTE = 1 << 20;
const outcome = (escaped, how) => ({ escaped: Boolean(escaped), how: String(how) });
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function read(path) {
  try {
    return fs.readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

/** Whether something can be done. */
function can(deed) {
  try {
    deed();
    return true;
  } catch {
    return false;
  }
}

const others = () => fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);

/** The process of another function that has this name in its environment. */
function neighbour(mark) {
  for (const number of others()) {
    const entry = read(`/proc/${number}/environ`).split('\0').find((entry) => entry.startsWith(`${mark}=`));
    if (entry) return { number: Number(number), secret: entry.slice(mark.length + 1) };
  }
  return null;
}

let ticks = [];
let flood;

/** What JavaScript cannot do, a program does that the function brings along: PROGRAM stands behind this text. */
function byProgram(args) {
  const path = '/tmp/brought-along';
  if (!fs.existsSync(path)) fs.writeFileSync(path, Buffer.from(PROGRAM, 'base64'), { mode: 0o755 });
  const ended = spawnSync(path, [JSON.stringify(args)], { encoding: 'utf8' });
  return ended.stdout ? JSON.parse(ended.stdout) : outcome(false, ended.error ?? ended.signal);
}

const attacks = {
  // One shell that forks: quicker than as many programs.
  processes({ count }) {
    // Each waits for somebody to write, which nobody does.
    const script = `mkfifo /tmp/nobody; i=0; while [ $i -lt ${count} ]; do
      (read -r _ </tmp/nobody) >/dev/null 2>&1 & i=$((i + 1)); done; echo all`;
    const shell = spawnSync('/bin/sh', ['-c', script], { stdio: ['pipe', 'pipe', 'pipe'], timeout: 60000 });
    return outcome(String(shell.stdout).includes('all'), String(shell.stderr).slice(0, 100) || 'as many as wanted');
  },
  async memory({ megabytes, slowly }) {
    const hoard = [];
    for (let i = 0; i < megabytes; i++) {
      hoard.push(Buffer.alloc(MEGABYTE, 1));
      if (slowly) await pause(1);
    }
    return outcome(true, `${hoard.length} MB held`);
  },
  // Of its own an interpreter has few threads; those for files are as many as its environment says.
  async threads({ count }) {
    const env = { ...process.env, UV_THREADPOOL_SIZE: String(Math.ceil(count / 2)) };
    const script = "require('fs').stat('/', () => console.log('up')); setInterval(() => {}, 1000)";
    const children = [1, 2].map(() => spawn(process.execPath, ['-e', script], { env, stdio: ['ignore', 'pipe', 'ignore'] }));
    const up = await Promise.all(children.map((child) => new Promise((resolve) => {
      child.stdout.on('data', () => resolve(true));
      child.on('exit', () => resolve(false)).on('error', () => resolve(false));
    })));
    children.forEach((child) => child.kill('SIGKILL'));
    return outcome(up.every(Boolean), `interpreters with many threads that came up: ${up}`);
  },
  // One processor for many threads between two points of time; how much of it they had, in milliseconds.
  async spin({ count, processor, from, until }) {
    const script = `const { workerData: { from, until }, parentPort } = require('worker_threads');
      const rest = new Int32Array(new SharedArrayBuffer(4));
      parentPort.postMessage('up');
      while (Date.now() < from * 1000) Atomics.wait(rest, 0, 0, 1);
      while (Date.now() < until * 1000);
      parentPort.postMessage('done');
      Atomics.wait(rest, 0, 0);`;
    const workers = Array.from({ length: count }, () => new Worker(script, { eval: true, workerData: { from, until } }));
    const all = (word) => Promise.all(workers.map((worker) => new Promise((resolve) => {
      worker.on('message', (said) => { if (said === word) resolve(); });
    })));
    const done = all('done');
    await all('up');
    spawnSync('taskset', ['--all-tasks', '--cpu-list', '--pid', String(processor), String(process.pid)]);
    const late = Date.now() > from * 1000;
    await pause(from * 1000 - Date.now());
    const before = process.cpuUsage();
    await done;
    const { user, system } = process.cpuUsage(before);
    await Promise.all(workers.map((worker) => worker.terminate()));
    return { late, used: Math.round((user + system) / 1000) };
  },
  fill_all({ folders, megabytes }) {
    const piece = Buffer.alloc(MEGABYTE, 1);
    for (const folder of folders) for (let i = 0; i < megabytes; i++) fs.appendFileSync(`${folder}/hoard`, piece);
    return outcome(true, `${megabytes} MB in each of ${folders}`);
  },
  fill({ folder, megabytes }) {
    const [path, piece] = [`${folder}/full`, Buffer.alloc(MEGABYTE, 1)];
    let written = 0;
    const all = can(() => {
      for (; written < megabytes; written++) fs.appendFileSync(path, piece);
    });
    fs.unlinkSync(path);
    return outcome(all, `${written} MB in ${folder}`);
  },
  inodes({ folder, count }) {
    let made = 0;
    const all = can(() => {
      for (; made < count; made++) fs.closeSync(fs.openSync(`${folder}/empty-${made}`, 'w'));
    });
    for (let i = 0; i < made; i++) fs.unlinkSync(`${folder}/empty-${i}`);
    return outcome(all, `${made} files`);
  },
  descriptors({ count }) {
    const held = [];
    const all = can(() => {
      while (held.length < count) held.push(fs.openSync('/dev/null'));
    });
    held.forEach((fd) => fs.closeSync(fd));
    return outcome(all, `${held.length} descriptors`);
  },
  ignore_the_end({ name }) {
    process.title = name;
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT']) process.on(signal, () => {});
    return new Promise(() => setInterval(() => {}, 50));
  },
  async daemon({ name }) {
    const script = `process.title = ${JSON.stringify(name)}; process.on('SIGTERM', () => {}); setInterval(() => {}, 600000)`;
    const child = spawn(process.execPath, ['-e', script], { detached: true, stdio: 'ignore' });
    child.unref();
    while (read(`/proc/${child.pid}/comm`).trim() !== name) await pause(5);
    return outcome(false, 'whether it lives on is seen from outside');
  },
  time_bomb(args) {
    if (!args.from) {
      setInterval(() => ticks.push(Date.now() / 1000), 10);
      return outcome(false, 'the clock is set');
    }
    const within = ticks.filter((tick) => args.from < tick && tick < args.until);
    return outcome(within.length >= args.enough, `ran ${within.length} times while nobody had called`);
  },
  environment({ mark }) {
    const found = neighbour(mark);
    return outcome(found, found ? `process ${found.number} has ${found.secret}` : `only ${others()} are seen`);
  },
  command_line({ mark }) {
    const lines = others().map((number) => read(`/proc/${number}/cmdline`).split('\0').join(' ').trim());
    return outcome(lines.includes(mark), `${lines.length} are seen`);
  },
  write_for_a_neighbour({ mark }) {
    const found = neighbour(mark);
    const prints = () => fs.writeFileSync(`/proc/${found.number}/fd/1`, 'a line of somebody else\n');
    return outcome(found && can(prints), found ? `printing for ${found.number}` : 'nobody is seen');
  },
  // Beside those of its own sandbox: its launcher and the first.
  signal_the_parents() {
    const taken = [];
    for (let above = process.ppid; above > 1;) {
      const name = read(`/proc/${above}/comm`).trim();
      if (name.startsWith('chasen') && can(() => process.kill(above, 0))) taken.push(`${above} ${name}`);
      above = Number(read(`/proc/${above}/stat`).split(') ').pop().split(' ')[1] ?? 0);
    }
    return outcome(taken.length > 1, `${taken} take signals`);
  },
  kill_neighbour({ mark }) {
    const found = neighbour(mark);
    return outcome(found && can(() => process.kill(found.number, 'SIGKILL')), found ? found.number : 'nobody is seen');
  },
  signal_the_node({ process: number }) {
    return outcome(can(() => process.kill(number, 0)), `process ${number}`);
  },
  // Programs of the system do what JavaScript cannot.
  program({ command }) {
    const [name, ...words] = command;
    const ended = spawnSync(name, words, { timeout: 20000 });
    return outcome(ended.status === 0, ended.error || ended.stderr);
  },
  leave({ paths, text }) {
    const left = paths.filter((path) => can(() => fs.writeFileSync(path, text)));
    return outcome(left.length, `left ${left}`);
  },
  find({ paths, text }) {
    const found = paths.filter((path) => read(path).includes(text));
    return outcome(found.length, `found ${found}`);
  },
  // Looks for a text in all files below some folders.
  search({ paths, text }) {
    const below = (folder) => {
      let entries = [];
      can(() => { entries = fs.readdirSync(folder, { withFileTypes: true }); });
      return entries.flatMap((entry) => {
        const path = `${folder}/${entry.name}`;
        return entry.isDirectory() ? below(path) : [path];
      });
    };
    const found = paths.flatMap(below).find((path) => read(path).includes(text));
    return outcome(found, `found ${found}`);
  },
  create({ paths }) {
    const made = paths.filter((path) => can(() => {
      fs.closeSync(fs.openSync(path, 'wx'));
      fs.unlinkSync(path);
    }));
    return outcome(made.length, `made ${made}`);
  },
  async connect({ targets, patience }) {
    const reach = ({ host, port }) => new Promise((resolve) => {
      const socket = net.connect({ host, port, timeout: patience * 1000 }, () => socket.write('GET / HTTP/1.0\r\n\r\n'));
      const end = (reached) => () => { socket.destroy(); resolve(reached ? [`${host}:${port}`] : []); };
      socket.on('data', end(true)).on('error', end(false)).on('timeout', end(false)).on('close', end(false));
    });
    const reached = (await Promise.all(targets.map(reach))).flat();
    return outcome(reached.length, `reached ${reached}`);
  },
  // Answers, and lets a child print from then on; the next call waits for its end.
  async flood_later({ megabytes, rest }) {
    if (!rest) {
      const script = `head -c ${megabytes * MEGABYTE} /dev/zero | tr '\\0' x`;
      flood = spawn('/bin/sh', ['-c', script], { stdio: ['ignore', 1, 'ignore'] });
      flood.over = new Promise((resolve) => flood.on('exit', resolve));
    } else {
      await flood.over;
    }
    return outcome(false, 'how much is kept is seen from outside');
  },
  flood_of_log({ megabytes, lines }) {
    const piece = ('x'.repeat(1023) + (lines ? '\n' : 'x')).repeat(1024);
    for (let i = 0; i < megabytes; i++) {
      for (let rest = Buffer.from(piece); rest.length > 0;) {
        try {
          rest = rest.subarray(fs.writeSync(1, rest));
        } catch (error) {
          if (error.code !== 'EAGAIN') throw error;
        }
      }
    }
    return outcome(false, 'how much is kept is seen from outside');
  },
  forged_reply() {
    const payload = '{"escaped":true,"how":"a reply in the name of another activation was taken"}';
    const header = Buffer.alloc(21, 7);
    header.writeUInt32BE(17 + payload.length, 0);
    header[4] = 5;
    fs.writeSync(3, Buffer.concat([header, Buffer.from(payload)]));
    return new Promise(() => setInterval(() => {}, 1000));
  },
};

exports.main = (args) => (attacks[args.attack] ?? byProgram)(args);
