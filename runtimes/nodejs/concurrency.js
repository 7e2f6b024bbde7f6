'use strict';
// Runs that overlap in one launcher: what the function prints while it serves an activation goes to that activation,
// as frames on the channel, all of them before its reply. Loaded for actions that allow it only.
//
// Frames are collected while the event loop turns and written together. Writing blocks: a function that prints
// faster than it is read is held back, as by a pipe, and nothing piles up in memory.

const { AsyncLocalStorage } = require('async_hooks');
const fs = require('fs');

/** Numbers of the streams in frames of log. */
const STREAMS = { stdout: 1, stderr: 2 };
/** Most bytes of text in one frame of log. */
const MAX_LOG = 64 * 1024;
/** What is collected at most before it is written in the midst of a turn, in bytes. */
const MAX_COLLECTED = 1024 * 1024;
/** How long the end of the process waits for a reader, in milliseconds. */
const LAST_WORDS_TIME = 1000;

const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** The way out of a launcher with several runs in it. */
class Outbox {
  /** `wire` is how the launcher makes frames, and where it sends them. */
  constructor(wire) {
    this.wire = wire;
    this.clear();
    process.on('exit', () => this.flush(Date.now() + LAST_WORDS_TIME));
  }

  clear() {
    this.parts = [];
    /** Replies, which go behind everything that was printed by then, and the runs that they end. */
    this.replies = [];
    this.ending = [];
    this.size = 0;
    /** The frame of log that the next piece joins if it is of the same run and stream. */
    this.last = undefined;
  }

  send(kind, run, text) {
    const frame = this.wire.encodeFrame(kind, run.activationId, text);
    this.ending.push(run);
    this.add(this.replies, frame);
  }

  log(run, stream, bytes) {
    const { HEADER_LENGTH, Kind, encodeHeader } = this.wire;
    for (let offset = 0; offset < bytes.length;) {
      const { last } = this;
      const joins = last?.run === run && last.stream === stream && last.size < MAX_LOG;
      const frame = joins ? last : { run, stream, size: 0 };
      const piece = bytes.subarray(offset, offset + MAX_LOG - frame.size);
      offset += piece.length;
      frame.size += piece.length;
      if (joins) {
        frame.header.writeUInt32BE(HEADER_LENGTH - 4 + 1 + frame.size, 0);
        this.add(this.parts, piece);
      } else {
        frame.header = encodeHeader(Kind.Log, run.activationId, 1 + frame.size, 1);
        frame.header[HEADER_LENGTH] = stream;
        this.last = frame;
        this.add(this.parts, frame.header, piece);
      }
    }
  }

  add(to, ...parts) {
    if (this.size === 0) setImmediate(() => this.flush());
    for (const part of parts) {
      to.push(part);
      this.size += part.length;
    }
    if (this.size >= MAX_COLLECTED) this.flush();
  }

  /** Writes everything, however long the reader takes; until `deadline` if there is one. */
  flush(deadline = Infinity) {
    if (this.size === 0) return;
    const parts = this.parts.length === 0 ? this.replies : this.parts.concat(this.replies);
    const bytes = parts.length === 1 ? parts[0] : Buffer.concat(parts, this.size);
    for (const run of this.ending) run.ended = true;
    this.clear();
    for (let written = 0; written < bytes.length;) {
      try {
        written += fs.writeSync(this.wire.CHANNEL, bytes, written);
      } catch (error) {
        // Nobody reads any more.
        if (error.code !== 'EAGAIN') return process.reallyExit(0);
        if (Date.now() > deadline) return;
        Atomics.wait(sleeper, 0, 0, 1);
      }
    }
  }
}

/** Makes `process[name]` give what is written during a run to the outbox; all else goes where it always goes. */
function attribute(name, runs, outbox) {
  const stream = process[name];
  const { write } = stream;
  stream.write = function attributed(chunk, encoding, callback) {
    const run = runs.getStore();
    const isText = typeof chunk === 'string';
    if (run === undefined || run.ended || !(isText || chunk instanceof Uint8Array)) return write.apply(stream, arguments);
    outbox.log(run, STREAMS[name], isText ? Buffer.from(chunk, typeof encoding === 'string' ? encoding : 'utf8') : Buffer.from(chunk));
    const done = typeof encoding === 'function' ? encoding : callback;
    if (typeof done === 'function') process.nextTick(done, null);
    return true;
  };
}

/** Begins to attribute output. Gives a `send` that keeps the order, and `within(run, action)`, which acts for a run. */
function overlap(wire) {
  const runs = new AsyncLocalStorage();
  const outbox = new Outbox(wire);
  for (const name of Object.keys(STREAMS)) attribute(name, runs, outbox);
  return {
    send: (...frame) => outbox.send(...frame),
    within: (run, action) => runs.run(run, action),
  };
}

module.exports = { overlap };
