// Launcher of the deno kinds: owns one action inside a sandbox and answers frames on fd 3.
//
// A frame is u32 length (big endian, of all that follows), u8 kind, 16 bytes of activation id, payload.
// Order of events: Hello out; Init in, Initialized or DeveloperError out; then Run in, Result or
// DeveloperError out, as often as asked. End of file on fd 3 ends the process.
//
// Started as `deno run --allow-all … launcher.ts`: what functions may do is the sandbox's business.

import { Socket } from "node:net";

const CHANNEL = 3;
const HEADER_LENGTH = 21;
const MAX_PAYLOAD = 256 * 1024 * 1024;
const Kind = { Hello: 1, Init: 2, Initialized: 3, Run: 4, Result: 5, DeveloperError: 6 };
const NO_ACTIVATION = new Uint8Array(16);
const NO_CODE = "Missing main/no code to execute.";
const NO_MODULE = "couldn't find the bundled file. There might be an error during bundling.";
const NO_FUNCTION = "main.ts has no function as its default export.";
const TWICE = "Cannot initialize the action more than once.";
const NOT_INITIALIZED = "no action defined yet";
const BAD_REQUEST = "Error unmarshaling request: it is not a JSON object";
const BAD_RESULT = "response returned by the function is not an object";

type Json = Record<string, unknown>;
type Answer = (kind: number, text: string) => void;
type Main = (args: unknown) => unknown;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** Environment names that belong to one activation; grows with every name a run brings. */
const activationNames = new Set(
  ["NAMESPACE", "ACTION_NAME", "ACTION_VERSION", "ACTIVATION_ID", "TRANSACTION_ID", "DEADLINE", "API_KEY"].map(
    (name) => `__OW_${name}`,
  ),
);

// ---- channel ------------------------------------------------------------------------------------

function encodeFrame(kind: number, activationId: Uint8Array, text: string): Uint8Array {
  const payload = encoder.encode(text);
  const frame = new Uint8Array(HEADER_LENGTH + payload.length);
  new DataView(frame.buffer).setUint32(0, HEADER_LENGTH - 4 + payload.length);
  frame[4] = kind;
  frame.set(activationId, 5);
  frame.set(payload, HEADER_LENGTH);
  return frame;
}

/** Calls `onFrame` for every whole frame that is fed to it. */
class FrameReader {
  private target = new Uint8Array(HEADER_LENGTH);
  private filled = 0;
  private header: Uint8Array | undefined;

  constructor(private onFrame: (kind: number, activationId: Uint8Array, payload: Uint8Array) => void) {}

  feed(bytes: Uint8Array) {
    for (let offset = 0; offset < bytes.length;) {
      const piece = bytes.subarray(offset, offset + this.target.length - this.filled);
      this.target.set(piece, this.filled);
      offset += piece.length;
      this.filled += piece.length;
      if (this.filled === this.target.length) this.complete();
    }
  }

  private complete() {
    const whole = this.target;
    this.filled = 0;
    if (this.header === undefined) {
      const size = new DataView(whole.buffer).getUint32(0) - (HEADER_LENGTH - 4);
      if (size < 0 || size > MAX_PAYLOAD) {
        fail(`a frame announces ${size} bytes of payload, allowed are 0 to ${MAX_PAYLOAD}`);
      }
      this.header = whole;
      this.target = new Uint8Array(size);
      if (size > 0) return;
    }
    const header = this.header;
    const payload = this.target;
    this.header = undefined;
    this.target = new Uint8Array(HEADER_LENGTH);
    this.onFrame(header[4], header.subarray(5), payload);
  }
}

/** The peer broke the protocol: nothing that follows on the channel could be trusted. */
function fail(why: string): never {
  console.error(`launcher: ${why}`);
  Deno.exit(70);
}

// ---- the action's surroundings ------------------------------------------------------------------

function setEnvironment(name: string, value: unknown) {
  if (name === "" || /[=\0]/.test(name)) return;
  const text = typeof value === "object" && value !== null ? JSON.stringify(value) : String(value ?? "");
  Deno.env.set(name, text.replaceAll("\0", ""));
}

/** Makes `__OW_*` say what this run says: set what it brings, drop what an earlier one left. */
function refreshActivationEnvironment(message: Json) {
  const present = new Set<string>();
  for (const [key, value] of Object.entries(message)) {
    if (key === "value" || typeof value !== "string") continue;
    const name = `__OW_${key.toUpperCase()}`;
    setEnvironment(name, value);
    present.add(name);
    activationNames.add(name);
  }
  for (const name of activationNames) if (!present.has(name)) Deno.env.delete(name);
}

function describe(error: unknown): string {
  try {
    return error instanceof Error ? error.message : String(error);
  } catch {
    return Object.prototype.toString.call(error);
  }
}

/** Shows an error without the launcher's own frames. */
function log(error: unknown) {
  const stack = error instanceof Error ? String(error.stack ?? error) : describe(error);
  console.error(stack.split("\n").filter((line) => !line.includes(import.meta.url)).join("\n"));
}

function isFile(path: string): boolean {
  try {
    const { isFile, size } = Deno.statSync(path);
    return isFile && size > 0;
  } catch {
    return false;
  }
}

// ---- the action ---------------------------------------------------------------------------------

/** The function of a folder with code. What is thrown as text reaches the caller as it is. */
async function load(action: Json): Promise<Main> {
  const folder = typeof action.path === "string" ? action.path : "/action";
  const file = `${folder}/main.ts`;
  if (action.main === "" || !(action.binary || isFile(`${folder}/exec`))) throw NO_CODE;
  Deno.chdir(folder);
  for (const [name, value] of Object.entries(action.env ?? {})) setEnvironment(name, value);
  if (!action.binary) Deno.copyFileSync(`${folder}/exec`, file);
  if (!isFile(file)) throw NO_MODULE;
  const { default: main } = await import(new URL(`file://${file}`).href);
  if (typeof main !== "function") throw NO_FUNCTION;
  return main;
}

class Launcher {
  private main: Main | undefined;

  async receive(kind: number, payload: Uint8Array, answer: Answer) {
    const refuse = (error: string) => answer(Kind.DeveloperError, JSON.stringify({ error }));
    let message;
    try {
      message = JSON.parse(decoder.decode(payload));
    } catch {
      message = undefined;
    }
    if (typeof message !== "object" || message === null) return refuse(BAD_REQUEST);
    if (kind === Kind.Init) return await this.init(message.value ?? {}, answer, refuse);
    if (kind === Kind.Run) return await this.run(message, answer, refuse);
    fail(`frames of kind ${kind} are not for a launcher`);
  }

  private async init(action: Json, answer: Answer, refuse: (error: string) => void) {
    if (this.main) {
      console.error(TWICE);
      return refuse(TWICE);
    }
    try {
      this.main = await load(action);
      answer(Kind.Initialized, "");
    } catch (error) {
      if (typeof error !== "string") log(error);
      refuse(describe(error));
    }
  }

  private async run(message: Json, answer: Answer, refuse: (error: string) => void) {
    if (!this.main) return refuse(NOT_INITIALIZED);
    refreshActivationEnvironment(message);
    let text: string | undefined;
    try {
      const result = await this.main(message.value ?? {});
      if (typeof result === "object" && result !== null) text = JSON.stringify(result);
    } catch (error) {
      log(error);
      return answer(Kind.Result, JSON.stringify({ error: describe(error) }));
    }
    answer(Kind.Result, text ?? JSON.stringify({ error: BAD_RESULT }));
  }
}

// ---- boot ---------------------------------------------------------------------------------------

const channel = new Socket({ fd: CHANNEL } as ConstructorParameters<typeof Socket>[0]);
const launcher = new Launcher();
const reader = new FrameReader((kind, activationId, payload) =>
  launcher.receive(kind, payload, (replyKind, text) => {
    channel.write(encodeFrame(replyKind, activationId, text));
  })
);
channel.on("data", (bytes: Uint8Array) => reader.feed(bytes));
channel.on("error", () => Deno.exit(0));
channel.on("end", () => Deno.exit(0));
channel.write(encodeFrame(Kind.Hello, NO_ACTIVATION, '{"protocol":1,"concurrent":false}'));
