// What a hostile function may try; `deed` says which.
const fs = require('fs');
const { spawn } = require('child_process');

const HEADER = 21;

function frame(kind, id, payload, length = HEADER - 4 + payload.length) {
  const bytes = Buffer.alloc(HEADER + payload.length);
  bytes.writeUInt32BE(length >>> 0, 0);
  bytes[4] = kind;
  id.copy(bytes, 5);
  bytes.write(payload, HEADER);
  return bytes;
}

function send(bytes) {
  for (let offset = 0; offset < bytes.length;) {
    try {
      offset += fs.writeSync(3, bytes, offset);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

const own = () => Buffer.from(process.env.__OW_ACTIVATION_ID, 'hex');
const other = () => Buffer.alloc(16, 7);
const never = () => new Promise(() => setInterval(() => {}, 1000));

const deeds = {
  calm: () => ({ calm: true }),
  exit: () => process.exit(3),
  abort: () => process.abort(),
  spin: () => { for (;;); },
  idle: never,
  async fork() {
    let failed = 0;
    const children = [];
    for (let i = 0; i < 10000 && failed < 100; i++) {
      try {
        const child = spawn('sleep', ['600'], { stdio: 'ignore' });
        child.on('error', () => failed++);
        children.push(child);
      } catch {
        failed++;
      }
      if (i % 50 === 0) await new Promise(setImmediate);
    }
    return { contained: failed > 0 };
  },
  memory() {
    for (const hoard = []; ;) hoard.push(Buffer.alloc(1 << 20, 1));
  },
  fill() {
    try {
      for (let i = 0; i < 4096; i++) fs.appendFileSync(`/tmp/${i}`, Buffer.alloc(1 << 20, 1));
    } catch (error) {
      return { code: error.code };
    }
    return { code: 'none' };
  },
  files() {
    let opened = 0;
    try {
      for (; opened < 5000; opened++) fs.openSync('/dev/zero');
    } catch (error) {
      return { opened, code: error.code };
    }
    return { opened };
  },
  flood_log({ megabytes }) {
    const piece = `${'x'.repeat(1023)}\n`.repeat(1024);
    for (let i = 0; i < megabytes; i++) fs.writeSync(1, piece);
    return { megabytes };
  },
  close() {
    fs.closeSync(3);
    return never();
  },
  flood() {
    for (;;) send(Buffer.alloc(1 << 20, 0xff));
  },
  wrong_id() {
    send(frame(5, other(), '{"forged":true}'));
    return never();
  },
  wrong_kind() {
    send(frame(99, own(), '{}'));
    return never();
  },
  second_hello() {
    send(frame(1, Buffer.alloc(16), '{"protocol":1,"concurrent":false}'));
    return never();
  },
  huge_length() {
    send(frame(5, own(), '{}', 0xffffffff));
    return never();
  },
  short_length() {
    send(frame(5, own(), '{}', 3));
    return never();
  },
  half_frame() {
    fs.writeSync(3, frame(5, own(), '{"forged":true}').subarray(0, 30));
    return never();
  },
  forge_own() {
    send(frame(5, own(), '{"forged":true}'));
    return { stale: true };
  },
  sulk() {
    setImmediate(() => { for (;;); });
    return { sulks: true };
  },
  kill_parent() {
    try {
      process.kill(process.ppid || 1, 'SIGKILL');
    } catch (error) {
      return { code: error.code };
    }
    return { survived: true };
  },
  kill_all() {
    require('child_process').execSync('kill -9 -1');
    return never();
  },
};

function main(args) {
  return deeds[args.deed || 'calm'](args);
}
