/**
 * One end of TCP connections: a thread that writes into them as fast as their kernel takes it, or reads from them what
 * there is and forgets it. Both copy, as programs do that have something to send or to receive.
 */
import { parentPort, workerData } from "node:worker_threads";
import { POLLIN, POLLOUT, ppoll, read, write } from "../sys/calls.ts";
import { EAGAIN, EPIPE } from "../sys/errno.ts";
import { addressOf } from "../sys/memory.ts";
import { LOAD_COMMAND, LOAD_CONTROL, type LoadReply, type LoadTask } from "./load-thread.ts";

/** Of one call: as iperf3's. */
const CHUNK = 128 * 1024;
/** The command is looked at this often, at least. ns */
const WAIT = 20e6;

const { sockets, way, control } = workerData as LoadTask<"mover">;
const words = new Int32Array(control);
const counts = new Float64Array(control);

function move(): void {
  const address = addressOf(new Uint8Array(new SharedArrayBuffer(CHUNK)));
  const call = way === "send" ? write : read;
  const pollfds = new Int32Array(new SharedArrayBuffer(8 * sockets.length));
  const pollAddress = addressOf(pollfds);
  for (const [i, fd] of sockets.entries()) pollfds[2 * i] = fd;
  const events = way === "send" ? POLLOUT : POLLIN;
  while (Atomics.load(words, LOAD_CONTROL.COMMAND) === LOAD_COMMAND.RUN) {
    let dry = true;
    for (let i = 0; i < sockets.length; i++) {
      // The end of a connection is a failure here: nobody closes one before the thread ends.
      const moved = call(sockets[i], address, CHUNK) || -EPIPE;
      if (moved > 0) {
        counts[LOAD_CONTROL.COUNT] += moved;
        dry &&= moved < CHUNK;
      } else if (moved !== -EAGAIN) {
        words[LOAD_CONTROL.FAILURES]++;
        words[LOAD_CONTROL.ERRNO] = -moved;
      }
    }
    if (!dry) continue;
    for (let i = 0; i < sockets.length; i++) pollfds[2 * i + 1] = events;
    ppoll(pollAddress, sockets.length, WAIT);
  }
}

parentPort!.postMessage({ ready: true } satisfies LoadReply);
Atomics.wait(words, LOAD_CONTROL.COMMAND, LOAD_COMMAND.WAIT);
move();
