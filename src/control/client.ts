/** A connection to a running pipeline's socket, of a command that has something to ask it. */
import { connect, type Socket } from "node:net";
import {
  type Command,
  LineBuffer,
  LONGEST_REPLY,
  parseReply,
  type Replies,
  requestLine,
} from "./protocol.ts";

/** The other side ended the connection before it answered. */
export class ConnectionLost extends Error {}
/** It did not answer in time: it is stopped (SIGSTOP, a debugger), or its machine has no time for it. */
export class NoAnswer extends Error {}

interface Question {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

export class Connection {
  private readonly socket: Socket;
  private readonly lines = new LineBuffer(LONGEST_REPLY);
  private readonly questions: Question[] = [];
  private lost: Error | undefined;
  /** Settles when the other side, or this one, has ended the connection; the other one does so as its process ends. */
  readonly ended: Promise<void>;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (piece: Buffer) => this.receive(piece));
    // EPIPE, ECONNRESET: it ended between a question and its answer.
    socket.on("error", (cause) => this.fail(new ConnectionLost("it has ended", { cause })));
    this.ended = new Promise((resolve) => {
      socket.on("close", () => {
        this.fail(new ConnectionLost("it has ended"));
        resolve();
      });
    });
  }

  /** @throws NodeJS.ErrnoException of connect(2): ECONNREFUSED says that its owner is gone */
  static open(path: string): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new Connection(socket));
      });
    });
  }

  /**
   * Asks, and gives the answer. Questions are answered in their order.
   * @param limit ms
   * @throws ControlError as the pipeline refused; NoAnswer, ConnectionLost
   */
  async ask<C extends Command>(command: C, limit: number): Promise<Replies[C]> {
    let timer: NodeJS.Timeout | undefined;
    const answer = new Promise<unknown>((resolve, reject) => {
      if (this.lost !== undefined) return reject(this.lost);
      this.questions.push({ resolve, reject });
      timer = setTimeout(() => reject(new NoAnswer(`no answer within ${limit / 1000} s`)), limit);
      this.socket.write(requestLine(command));
    });
    try {
      return (await answer) as Replies[C];
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.socket.destroy();
  }

  private receive(piece: Buffer): void {
    this.lines.push(piece);
    if (this.lines.tooLong) {
      this.fail(new Error(`its answer has more than ${LONGEST_REPLY} bytes`));
      this.socket.destroy();
      return;
    }
    for (let line = this.lines.take(); line !== undefined; line = this.lines.take()) {
      const question = this.questions.shift();
      try {
        question?.resolve(parseReply(line));
      } catch (error) {
        question?.reject(error as Error);
      }
    }
  }

  private fail(error: Error): void {
    this.lost ??= error;
    for (const { reject } of this.questions.splice(0)) reject(this.lost);
  }
}
