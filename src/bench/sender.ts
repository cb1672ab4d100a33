/**
 * The load: a thread on a host of the lab that sends UDP as fast as the kernel takes it. One system call hands over up
 * to 64 KiB, which the kernel cuts into datagrams (UDP_SEGMENT) at the end of its own way, in front of the device.
 */
import { parentPort, workerData } from "node:worker_threads";
import { close } from "../sys/calls.ts";
import { connectUdp, segmentUdp, UDP_MAX_SEGMENTS, Volley } from "../sys/datagrams.ts";
import { check } from "../sys/errno.ts";
import { CLONE_NEWNET, setns } from "../sys/namespaces.ts";
import { LOAD_COMMAND, LOAD_CONTROL, type LoadReply, type LoadTask } from "./load-thread.ts";
import { LOAD } from "./payload.ts";

/** What one send may carry: the longest IP packet, less its headers. */
const MOST_BYTES = 65_000;

const task = workerData as LoadTask<"sender">;
const words = new Int32Array(task.control);
const counts = new Float64Array(task.control);

function reply(message: LoadReply): void {
  parentPort!.postMessage(message);
}

function openSockets(): number[] {
  check(setns(task.namespace, CLONE_NEWNET), "setns", "the sending host's network namespace");
  const sockets: number[] = [];
  for (let i = 0; i < task.flows; i++) {
    const fd = check(connectUdp(task.to), "connect", `UDP port ${task.to.port}`, {
      detail: `socket ${i + 1} of ${task.flows}`,
    });
    sockets.push(fd);
    check(segmentUdp(fd, task.payloadBytes), "setsockopt", "UDP_SEGMENT");
  }
  return sockets;
}

/** Segments of one send, and sends of one call: together a flow's burst. */
function shape(): { segments: number; messages: number } {
  const most = Math.min(UDP_MAX_SEGMENTS, Math.floor(MOST_BYTES / task.payloadBytes));
  const messages = Math.ceil(task.burst / most);
  return { segments: Math.round(task.burst / messages), messages };
}

function send(sockets: number[]): void {
  const { segments, messages } = shape();
  const payload = new Uint8Array(new SharedArrayBuffer(task.payloadBytes * segments));
  for (let i = 0; i < segments; i++) payload.set(LOAD, i * task.payloadBytes);
  const volley = new Volley(payload, messages);
  reply({ ready: true });
  Atomics.wait(words, LOAD_CONTROL.COMMAND, LOAD_COMMAND.WAIT);
  for (let i = 0; Atomics.load(words, LOAD_CONTROL.COMMAND) === LOAD_COMMAND.RUN; ) {
    const taken = volley.send(sockets[i]);
    if (taken > 0) {
      counts[LOAD_CONTROL.COUNT] += taken * segments;
    } else {
      words[LOAD_CONTROL.FAILURES]++;
      words[LOAD_CONTROL.ERRNO] = -taken;
    }
    if (++i === sockets.length) i = 0;
  }
}

try {
  const sockets = openSockets();
  send(sockets);
  for (const fd of sockets) close(fd);
} catch (error) {
  reply({ failure: `sender: ${(error as Error).message}` });
}
