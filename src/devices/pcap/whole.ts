/** A capture file as a list of packets, for set-up code and tests of filters: everything at once, in JavaScript's memory. */
import { statSync } from "node:fs";
import { PacketMemory } from "../../batches/memory.ts";
import { close, O_RDONLY, open } from "../../sys/calls.ts";
import { check } from "../../sys/errno.ts";
import { Capture } from "./capture.ts";
import { CaptureError } from "./records.ts";
import { PCAP_READ_BYTES, STATUS, Window } from "./window.ts";

/** Nobody reads a case with more packets, and each is an object. */
const MOST_PACKETS = 100_000;

export interface WholeCapture {
  /** Packets start with the Ethernet header (2) or the IP header (3). */
  layer: 2 | 3;
  /** `at`: ns since the first one, exact up to 2^53. */
  packets: { bytes: Uint8Array; at: number }[];
}

/**
 * Reads a regular file, pcap or pcapng, to its end.
 * @throws SystemError, CaptureError: it cannot be read, or not to its end
 */
export function readWholeCapture(file: string): WholeCapture {
  const fd = check(open(file, O_RDONLY), "open", file);
  try {
    // A pipe could keep a command waiting for ever.
    if (!statSync(file).isFile()) throw new CaptureError(`${file}: is no regular file`);
    return readAll(file, fd);
  } finally {
    close(fd);
  }
}

function readAll(file: string, fd: number): WholeCapture {
  const pages = PCAP_READ_BYTES / 65536;
  const m = new PacketMemory(new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }));
  const window = new Window(m, { address: 0, bytes: PCAP_READ_BYTES }, { name: file, fd, pipe: false });
  const capture = new Capture(window);
  if (capture.head() === STATUS.FAILED) throw capture.error!;
  const records = capture.records!;
  const packets: WholeCapture["packets"] = [];
  let first: bigint | undefined;
  for (;;) {
    const status = records.next();
    if (status === STATUS.END) break;
    if (status !== STATUS.READY) throw records.error ?? new CaptureError(`${file}: cannot be read on`);
    if (packets.length === MOST_PACKETS)
      throw new CaptureError(`${file}: has more than ${MOST_PACKETS} packets`);
    const time = (BigInt(records.time.high) << 32n) | BigInt(records.time.low);
    first ??= time;
    packets.push({
      bytes: window.u8.slice(records.data, records.data + records.length),
      at: Number(time - first),
    });
  }
  return { layer: records.layer as 2 | 3, packets };
}
