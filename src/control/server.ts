/**
 * A running pipeline's socket, on its main thread, beside the workers: whoever is slow, silent or wrong on it costs them
 * nothing. It keeps no process alive.
 */
import { randomBytes } from "node:crypto";
import { chmodSync, renameSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { checkLength, makeDirectory, runtimeDirectories } from "./directory.ts";
import { removeStale } from "./find.ts";
import {
  type About,
  type Command,
  ControlError,
  LineBuffer,
  LONGEST_REQUEST,
  parseRequest,
  type Replies,
  refusalLine,
  refusalOf,
  resultLine,
} from "./protocol.ts";

/** What a running pipeline does when it is asked to. What one throws is the reply: a ControlError, or a failure. */
export type Handlers = {
  [C in Exclude<Command, "info">]: () => Replies[C] | Promise<Replies[C]>;
};

export interface ControlSocket {
  readonly path: string;
  /**
   * Removes it, so that nobody finds it any more. Connections that there are end with the process: who waits for the end
   * of one waits for that of the other.
   */
  close(): void;
}

/** Connections at once; one more, and the one that has been silent longest is let go. */
export const MOST_CLIENTS = 128;
/** A request that has begun and does not end, and a reply that is not taken, end the connection after this. ms */
const PATIENCE = 10_000;

/**
 * @param directories where it may be: it is in the first that will do
 * @throws Error that says why there can be none
 */
export async function openControl(
  about: About,
  handlers: Handlers,
  directories: string[] = runtimeDirectories(),
): Promise<ControlSocket> {
  const refusals: string[] = [];
  for (const directory of directories) {
    try {
      return await openIn(directory, about, handlers);
    } catch (error) {
      refusals.push((error as Error).message);
    }
  }
  throw new Error(refusals.join("; "));
}

async function openIn(directory: string, about: About, handlers: Handlers): Promise<ControlSocket> {
  const name = `${about.pid}-${randomBytes(4).toString("hex")}`;
  const path = join(directory, `${name}.sock`);
  checkLength(path);
  makeDirectory(directory);
  const clients = new Set<Client>();
  const answer = answerer({ info: () => about, ...handlers });
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const silent = clients.size < MOST_CLIENTS ? undefined : clients.values().next().value;
    if (silent !== undefined) {
      clients.delete(silent);
      silent.socket.destroy();
    }
    const client = new Client(socket, async (line) => {
      // The one that spoke last is let go of last.
      clients.delete(client);
      clients.add(client);
      return await answer(line);
    });
    clients.add(client);
    socket.on("close", () => clients.delete(client));
  });
  // Under its name it is only once it listens: a socket that refuses is then one whose owner is gone.
  const begun = join(directory, `.${name}`);
  await listen(server, begun);
  try {
    chmodSync(begun, 0o600);
    renameSync(begun, path);
  } catch (error) {
    server.close();
    rmSync(begun, { force: true });
    throw error;
  }
  const remove = () => rmSync(path, { force: true });
  process.on("exit", remove);
  server.unref();
  removeStale(directory).catch(() => {});
  return {
    path,
    close() {
      process.off("exit", remove);
      remove();
      server.close();
    },
  };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => reject(new Error(`listen ${path}: ${error.code}`));
    server.once("error", fail).listen(path, () => {
      server.off("error", fail);
      // accept(2) without a descriptor to spare: it goes on when there is one.
      server.on("error", () => {});
      resolve();
    });
  });
}

type Answerer = (line: string) => Promise<{ text: string; last: boolean }>;

/** From a request's line to its reply's; `last`: the connection ends with it. */
function answerer(handlers: Record<string, () => unknown>): Answerer {
  return async (line) => {
    try {
      const { command } = parseRequest(line);
      if (!Object.hasOwn(handlers, command)) {
        const known = Object.keys(handlers).join(", ");
        const message = `there is no command ${JSON.stringify(command)}: there are ${known}`;
        throw new ControlError({ code: "unknown-command", message });
      }
      return { text: resultLine(await handlers[command]()), last: false };
    } catch (error) {
      const refusal = refusalOf(error);
      return { text: refusalLine(refusal), last: refusal.code === "bad-request" };
    }
  };
}

/** A connection. While a request is being answered and its reply sent, no other is read: one reply is all it takes up. */
class Client {
  readonly socket: Socket;
  private readonly answer: Answerer;
  private readonly lines = new LineBuffer(LONGEST_REQUEST);
  private busy = false;
  private ended = false;

  constructor(socket: Socket, answer: Answerer) {
    this.socket = socket;
    this.answer = answer;
    socket.unref();
    socket.on("data", (piece: Buffer) => {
      this.lines.push(piece);
      this.next();
    });
    socket.on("end", () => {
      this.ended = true;
      this.lines.end();
      this.next();
    });
    socket.on("timeout", () => socket.destroy());
    // It has gone, perhaps in the midst of a reply: "close" follows.
    socket.on("error", () => {});
  }

  private next(): void {
    if (this.busy || this.socket.destroyed || this.socket.writableEnded) return;
    const line = this.lines.take();
    if (line !== undefined) void this.reply(line);
    else if (this.lines.tooLong) {
      const message = `a request has at most ${LONGEST_REQUEST} bytes`;
      this.finish(refusalLine({ code: "bad-request", message }));
    } else if (this.ended) this.finish("");
    else {
      this.socket.setTimeout(this.lines.isInLine ? PATIENCE : 0);
      this.socket.resume();
    }
  }

  private async reply(line: string): Promise<void> {
    this.busy = true;
    this.socket.pause();
    this.socket.setTimeout(0);
    const { text, last } = await this.answer(line);
    this.busy = false;
    if (this.socket.destroyed || this.socket.writableEnded) return;
    if (last) return this.finish(text);
    this.busy = true;
    this.socket.setTimeout(PATIENCE);
    this.socket.write(text, () => {
      this.busy = false;
      this.next();
    });
  }

  /** The last words. What the other side still says is read and forgotten: unread, it would be an error to it. */
  private finish(text: string): void {
    this.socket.setTimeout(PATIENCE);
    this.socket.end(text);
    this.socket.removeAllListeners("data");
    this.socket.on("data", () => {});
    this.socket.resume();
  }
}
