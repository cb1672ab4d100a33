// A million sessions in a bounded table: every one is found again, none is another's, what finds no room is counted, and when
// they have ended there is room for as many again.
import { beforeAll, expect, test } from "vitest";
import { DESCRIPTOR } from "../../src/batches/layout.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

const SESSIONS = 1_000_000;
const ENDPOINTS = 50_000;
const REMOTES = SESSIONS / ENDPOINTS;
const BATCH = 64;
/** Looked at in a tick of nat's. */
const REAPED = 8192;

let nat: FilterModule;
beforeAll(async () => {
  nat = await filterModule("nat");
});

const big = (n: number) =>
  (((n << 24) | ((n & 0xff00) << 8) | ((n >>> 8) & 0xff00) | (n >>> 24)) >>> 0) as number;

/** A batch of packets whose endpoints are set right before they are sent. */
class Sender {
  readonly bench: FilterBench;
  private readonly descriptors: number[];
  private readonly data: number[];
  private readonly vector: number;

  constructor(params: object) {
    this.bench = new FilterBench(nat, params, { extra: 65_536 });
    const { m } = this.bench;
    const { bytes } = buildPacket({ ipv4: { from: "10.0.0.1", to: "192.0.2.1" }, udp: { checksum: "none" } });
    this.descriptors = Array.from({ length: BATCH }, () => this.bench.place(bytes));
    this.data = this.descriptors.map((descriptor) => m.u32[(descriptor + DESCRIPTOR.DATA) >>> 2]);
    this.vector = this.bench.take(4 * BATCH);
    m.u32.set(this.descriptors, this.vector >>> 2);
  }

  /**
   * Packets `from` to `to`, outwards or inwards.
   * @param set of packet n: source, destination, both ports, as they lie in it
   * @param see of packet n: did it go on, and the same of it now
   */
  send(
    from: number,
    to: number,
    set: (n: number) => [number, number, number],
    see: (n: number, isNext: boolean, source: number, destination: number, ports: number) => void,
  ): void {
    const { m } = this.bench;
    for (let first = from; first < to; first += BATCH) {
      const count = Math.min(BATCH, to - first);
      for (let i = 0; i < count; i++) {
        const at = this.data[i] >>> 2;
        [m.u32[at + 3], m.u32[at + 4], m.u32[at + 5]] = set(first + i);
      }
      this.bench.workers[0].filter.process(this.vector, count);
      for (let i = 0; i < count; i++) {
        const at = this.data[i] >>> 2;
        const isNext = m.u8[this.descriptors[i] + DESCRIPTOR.OUTPUT] === 0;
        see(first + i, isNext, m.u32[at + 3], m.u32[at + 4], m.u32[at + 5]);
      }
    }
  }
}

test("a million sessions are made, found in both directions, refused beyond, ended, and made again", () => {
  const sender = new Sender({
    ...{ inside: "10.0.0.0/8", outside: "198.51.100.2", mappings: ENDPOINTS, sessions: SESSIONS },
    "udp-timeout": "1000s",
  });
  const { bench } = sender;
  const inside = (n: number) => big(0x0a000000 + (n % ENDPOINTS));
  const remote = (n: number) => big(0xc0000201 + Math.floor(n / ENDPOINTS));
  const port = (n: number) => 5000 + (n % 1000);
  const swapped = (n: number) => ((n & 255) << 8) | (n >>> 8);
  const outwards = (n: number): [number, number, number] => [
    inside(n),
    remote(n),
    (swapped(port(n)) | (swapped(53) << 16)) >>> 0,
  ];
  const outside = new Uint16Array(ENDPOINTS);
  let wrong = 0;
  for (let round = 0; round < 2; round++) {
    const taken = new Set<number>();
    sender.send(0, SESSIONS, outwards, (n, isNext, source, destination, ports) => {
      if (!isNext || source !== big(0xc6336402) || destination !== remote(n)) wrong++;
      // The first packet of an endpoint decides, the others must have the same port.
      if (n < ENDPOINTS) {
        outside[n] = ports & 0xffff;
        taken.add(ports & 0xffff);
      } else if (outside[n % ENDPOINTS] !== (ports & 0xffff)) wrong++;
    });
    expect(wrong).toBe(0);
    expect(taken.size).toBe(ENDPOINTS);
    const made = SESSIONS * (round + 1);
    expect(bench.counters).toMatchObject({ "sessions-made": made, "mappings-made": ENDPOINTS * (round + 1) });

    // From outside, in another order: each at its own inside endpoint.
    const other = (n: number) => (n * 617) % SESSIONS;
    sender.send(
      0,
      SESSIONS,
      (n) => [remote(other(n)), big(0xc6336402), (swapped(53) | (outside[other(n) % ENDPOINTS] << 16)) >>> 0],
      (n, isNext, _, destination, ports) => {
        if (!isNext || destination !== inside(other(n)) || ports >>> 16 !== swapped(port(other(n)))) wrong++;
      },
    );
    expect(wrong).toBe(0);

    // One remote address more.
    let refused = 0;
    sender.send(SESSIONS, SESSIONS + 1000, outwards, (_, isNext) => {
      if (!isNext) refused++;
    });
    expect(refused).toBe(1000);
    expect(bench.counters["table-full"]).toBe(1000 * (round + 1));
    expect(bench.counters["sessions-made"]).toBe(made);

    bench.advance(1001);
    for (let reaped = 0; reaped < SESSIONS; reaped += REAPED) bench.advance(0.1);
    expect(bench.counters["sessions-expired"]).toBe(made);
    expect(bench.counters["mappings-expired"]).toBe(ENDPOINTS * (round + 1));
  }
  expect(REMOTES).toBe(20);
});
