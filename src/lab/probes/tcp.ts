/** TCP: a connection to each port; over the first that stands, random data there and back. */
import { createHash, randomBytes } from "node:crypto";
import { connect, createServer, type Socket } from "node:net";
import {
  Answers,
  type OnProgress,
  type Probe,
  type ProbeTask,
  SILENCE,
  STALL,
  TCP_BYTES,
  TCP_PORTS,
} from "./probe.ts";

export function probeTcp({ from, to }: ProbeTask, onProgress: OnProgress): Probe {
  const answers = new Answers(
    TCP_PORTS.map((port) => `port ${port}`),
    SILENCE + STALL,
    onProgress,
  );
  const sockets = TCP_PORTS.map((port, i) => {
    const socket = connect({ port, host: to, localAddress: from });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      answers.set(i, { outcome: "refused", why: error.code ?? error.message });
    });
    socket.on("connect", () => {
      // One transfer tells as much as four.
      if (answers.busy || answers.ended) return answers.set(i, { outcome: "answered" });
      answers.busy = true;
      transfer(socket, i, answers);
    });
    return socket;
  });
  // SYNs that nobody answers are done with earlier than a transfer may be.
  const silence = setTimeout(() => {
    if (!answers.busy) answers.end();
  }, SILENCE);
  return {
    answers: answers.all.then((all) => {
      clearTimeout(silence);
      for (const socket of sockets) socket.destroy();
      return all;
    }),
    giveUp: () => answers.end(),
  };
}

function transfer(socket: Socket, i: number, answers: Answers): void {
  const data = randomBytes(TCP_BYTES);
  const hash = createHash("sha256");
  const start = performance.now();
  let received = 0;
  const done = (answer: Parameters<Answers["set"]>[1]) => {
    clearTimeout(timer);
    answers.busy = false;
    answers.set(i, answer);
    // The other ports have had their time.
    if (performance.now() - start > SILENCE) answers.end();
  };
  const timer = setTimeout(
    () => done({ outcome: "silent", why: `stalled after ${received} of ${TCP_BYTES} bytes came back` }),
    STALL,
  );
  socket.on("data", (chunk) => {
    hash.update(chunk);
    received += chunk.length;
    if (received < TCP_BYTES) return;
    const same = hash.digest("hex") === createHash("sha256").update(data).digest("hex");
    if (same) done({ outcome: "answered", ms: performance.now() - start });
    else done({ outcome: "corrupt", why: "the data that came back has another hash" });
  });
  socket.on("close", () =>
    done({ outcome: "silent", why: `closed after ${received} of ${TCP_BYTES} bytes` }),
  );
  socket.write(data);
}

/** Echoes whatever comes over connections to the probes' ports. */
export async function serveTcp(address: string): Promise<void> {
  for (const port of TCP_PORTS) {
    const server = createServer((socket) => {
      socket.on("error", () => socket.destroy());
      socket.pipe(socket);
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ port, host: address }, resolve);
    });
  }
}
