/** UDP echo: a random datagram to each port, and the same one back. */
import { randomBytes } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { isIPv6 } from "node:net";
import { Answers, type OnProgress, type Probe, type ProbeTask, SILENCE, UDP_PORTS } from "./probe.ts";

const PAYLOAD_BYTES = 512;

export function probeUdp({ from, to }: ProbeTask, onProgress: OnProgress): Probe {
  const answers = new Answers(
    UDP_PORTS.map((port) => `port ${port}`),
    SILENCE,
    onProgress,
  );
  const payloads = UDP_PORTS.map(() => randomBytes(PAYLOAD_BYTES));
  const sockets = UDP_PORTS.map((port, i) => ask(from, to, port, payloads[i], i, answers));
  return {
    answers: answers.all.then((all) => {
      for (const socket of sockets) socket.close();
      return all.map((answer, i) => ({ ...answer, sent: payloads[i].toString("hex") }));
    }),
    giveUp: () => answers.end(),
  };
}

function ask(from: string, to: string, port: number, payload: Buffer, i: number, answers: Answers): Socket {
  const socket = createSocket(isIPv6(to) ? "udp6" : "udp4");
  // Connected, so that the kernel tells of ICMP errors.
  let sentAt = 0;
  socket.on("error", ({ code = "failed", syscall }: NodeJS.ErrnoException) => {
    // This side's kernel would not even send it.
    if (syscall === "connect") answers.set(i, { outcome: "silent", why: `connect: ${code}` });
    else answers.set(i, { outcome: "refused", why: code });
  });
  socket.on("message", (message) => {
    if (message.equals(payload)) answers.set(i, { outcome: "answered", ms: performance.now() - sentAt });
    else answers.set(i, { outcome: "corrupt", why: "another payload came back" });
  });
  socket.on("connect", () => {
    sentAt = performance.now();
    socket.send(payload);
  });
  socket.bind({ address: from, port: 0 }, () => {
    if (!answers.ended) socket.connect(port, to);
  });
  return socket;
}

/**
 * Echoes whatever comes to the probes' ports.
 * @param seen gets every datagram's payload, in hex
 */
export async function serveUdp(address: string, seen: Set<string>): Promise<void> {
  for (const port of UDP_PORTS) {
    const socket = createSocket(isIPv6(address) ? "udp6" : "udp4");
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.bind({ port, address }, resolve);
    });
    socket.on("message", (message, peer) => {
      seen.add(message.toString("hex"));
      socket.send(message, peer.port, peer.address);
    });
    // Errors about echoes: the sender finds out by the silence.
    socket.removeAllListeners("error").on("error", () => {});
  }
}
