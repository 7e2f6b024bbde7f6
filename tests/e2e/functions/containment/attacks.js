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
  async workers({ count }) {
    let started = 0;
    const workers = [];
    const wanted = Array.from({ length: count }, () => new Promise((resolve) => {
      const worker = new Worker('setInterval(() => {}, 1000)', { eval: true });
      workers.push(worker);
      worker.on('online', () => resolve(started++)).on('error', resolve).on('exit', resolve);
    }));
    await Promise.all(wanted);
    await Promise.all(workers.map((worker) => worker.terminate()));
    return outcome(started >= count, `${started} workers`);
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

exports.main = (args) => attacks[args.attack](args);
