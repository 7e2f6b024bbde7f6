// What a function sees of the place it runs in.
const fs = require('fs');
const net = require('net');
const os = require('os');

const attempt = (deed) => {
  try {
    return { did: deed() ?? true };
  } catch (error) {
    return { code: error.code };
  }
};

function status() {
  const fields = {};
  for (const line of fs.readFileSync('/proc/self/status', 'utf8').split('\n')) {
    const [key, value] = line.split(':');
    if (value !== undefined) fields[key] = value.trim();
  }
  return fields;
}

/** Everything below /proc and in the environments there that can be read, as one text. */
function processes() {
  const numbers = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return numbers.map((number) => {
    const read = (file) => attempt(() => fs.readFileSync(`/proc/${number}/${file}`, 'utf8')).did;
    return { number, command: read('cmdline'), environment: read('environ') };
  });
}

function connect({ host, port }) {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port, timeout: 10000 });
    socket.on('connect', () => { resolve({ host, port, answers: true }); socket.destroy(); });
    socket.on('timeout', () => { resolve({ host, port, answers: false }); socket.destroy(); });
    socket.on('error', () => resolve({ host, port, answers: false }));
  });
}

const asks = {
  status,
  processes: () => ({ processes: processes(), own: process.env }),
  write: ({ paths }) => paths.map((path) => ({ path, ...attempt(() => fs.writeFileSync(path, 'x')) })),
  read: ({ paths }) => paths.map((path) => ({ path, ...attempt(() => fs.readFileSync(path, 'utf8')) })),
  list: ({ paths }) => paths.map((path) => ({ path, ...attempt(() => fs.readdirSync(path)) })),
  connect: ({ targets }) => Promise.all(targets.map(connect)),
  async fetch({ url }) {
    const reply = await fetch(url);
    return { status: reply.status, text: await reply.text() };
  },
  address: () => Object.values(os.networkInterfaces()).flat().filter((a) => !a.internal).map((a) => a.address),
  async listen({ port }) {
    await new Promise((resolve) => { global.server = net.createServer((s) => s.end('here')).listen(port, '0.0.0.0', resolve); });
    return { address: asks.address()[0] };
  },
  who: () => ({ uid: process.getuid(), gid: process.getgid(), groups: process.getgroups() }),
};

async function main(args) {
  return { answer: await asks[args.ask](args) };
}
