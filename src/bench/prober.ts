/**
 * Latency probes: a thread with a socket on each of two hosts. A probe carries the time at which it was sent; the
 * receiving kernel stamps it as it comes from the far device, so that neither the wake-up of this thread nor the load's
 * way through the far host counts.
 */
import { parentPort, workerData } from "node:worker_threads";
import { clockMonotonic, clockRealtime, close, POLLIN, ppoll } from "../sys/calls.ts";
import { bindUdp, connectUdp, Receiver, refuseUdp, stampArrivals, Volley } from "../sys/datagrams.ts";
import { check } from "../sys/errno.ts";
import { addressOf } from "../sys/memory.ts";
import { withNamespace } from "../sys/namespaces.ts";
import { LOAD, PROBE, PROBE_WORD } from "./payload.ts";
import { PHASE, type PhaseSamples, type ProberReply, type ProberTask } from "./prober-thread.ts";

/** What is under way at the end still comes in for so long. ns */
const LINGER = 100e6;
const MARK = new DataView(Uint8Array.from(PROBE).buffer).getUint32(0, true);

const task = workerData as ProberTask;
const control = new Int32Array(task.control);
const phases: PhaseSamples[] = Object.values(PHASE).map(() => ({ sent: 0, samples: [] }));

function reply(message: ProberReply): void {
  parentPort!.postMessage(message);
}

function openSockets(): { from: number; to: number } {
  const what = `UDP port ${task.target.port}`;
  const to = withNamespace(task.to, () => check(bindUdp(task.target), "bind", what));
  check(stampArrivals(to), "setsockopt", "SO_TIMESTAMPNS");
  // Where the load is not dropped at the device, it ends here, and not in this socket's buffer.
  check(refuseUdp(to, LOAD), "setsockopt", "SO_ATTACH_FILTER");
  const from = withNamespace(task.from, () => check(connectUdp(task.target), "connect", what));
  return { from, to };
}

function run(from: number, to: number): void {
  const payload = new Uint8Array(new SharedArrayBuffer(task.payloadBytes));
  const words = new Uint32Array(payload.buffer, 0, PROBE_WORD.WORDS);
  words[PROBE_WORD.MARK] = MARK;
  const volley = new Volley(payload, 1);
  const receiver = new Receiver();
  const arrived = new Uint32Array(receiver.payload.buffer);
  const pollfd = new Uint32Array(new SharedArrayBuffer(8));
  const pollAddress = addressOf(pollfd);
  pollfd[0] = to;

  const take = () => {
    while (receiver.receive(to) >= 4 * PROBE_WORD.WORDS) {
      const { seconds, nanoseconds } = receiver;
      if (arrived[PROBE_WORD.MARK] !== MARK || seconds === 0) continue;
      const passed = (seconds - arrived[PROBE_WORD.SECONDS]) | 0;
      phases[arrived[PROBE_WORD.PHASE]].samples.push(
        passed * 1e9 + nanoseconds - arrived[PROBE_WORD.NANOSECONDS],
      );
    }
  };
  const wait = (timeout: number) => {
    pollfd[1] = POLLIN;
    ppoll(pollAddress, 1, timeout);
    take();
  };

  let due = clockMonotonic();
  for (;;) {
    const phase = Atomics.load(control, 0);
    if (phase === PHASE.END) break;
    const now = clockMonotonic();
    if (now < due) {
      wait(due - now);
      continue;
    }
    // A late one is not made up for: probes in a row would wait for each other.
    due = Math.max(due + task.period, now);
    if (phase === PHASE.OFF) continue;
    words[PROBE_WORD.PHASE] = phase;
    phases[phase].sent++;
    clockRealtime(words, PROBE_WORD.SECONDS);
    volley.send(from);
  }
  const end = clockMonotonic() + LINGER;
  for (let now = clockMonotonic(); now < end; now = clockMonotonic()) wait(end - now);
}

try {
  const { from, to } = openSockets();
  reply({ ready: true });
  run(from, to);
  close(from);
  close(to);
  reply({ phases });
} catch (error) {
  reply({ failure: `prober: ${(error as Error).message}` });
}
