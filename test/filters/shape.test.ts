// shape against FQ-CoDel as the RFCs' text has it, event by event, and what it is for: the rate is held, flows share it, and one
// that sends little is not made to wait for one that sends much.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { type Event, ReferenceShaper, type ShapeOptions, Tie } from "../reference/fq-codel.ts";
import { VirtualWorker } from "../support/virtual-worker.ts";

const MS = 1e6;

function make(params: string): Promise<VirtualWorker> {
  return VirtualWorker.make(`pktflow: 1
devices: { a: { kind: tun }, b: { kind: tun, offload: off } }
filters: { shape: { kind: shape, ${params} } }
paths: { there: { from: a, through: [shape], to: b }, back: { from: b, to: a } }
`);
}

interface Sent {
  id: number;
  flow: number;
  bytes: number;
  ecn: boolean;
}
function packet({ id, flow, bytes, ecn }: Sent): Uint8Array {
  const ipv4 = { from: "10.0.0.1", to: "10.0.0.2", id, tos: ecn ? 2 : 0 };
  return buildPacket({
    ipv4,
    udp: { "from-port": 1000 + flow, "to-port": 9 },
    payload: { bytes: bytes - 28 },
  }).bytes;
}
const idOf = (bytes: Uint8Array) => bytes[4] * 256 + bytes[5];

const burst = fc.record({
  /** us. */
  gap: fc.oneof(fc.nat(3000), fc.constantFrom(0, 200_000, 3_000_000)),
  packets: fc.array(
    fc.record({ flow: fc.nat(3), bytes: fc.constantFrom(40, 100, 999, 1500), ecn: fc.boolean() }),
    { minLength: 1, maxLength: 40 },
  ),
});

test("every packet leaves when the reference says, or is dropped or marked when it says so", async () => {
  const seen: Record<Event["what"], number> = { sent: 0, dropped: 0, marked: 0 };
  let overmemory = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(1e6, 3_333_333, 50e6),
      fc.constantFrom(30, 200, 1000),
      fc.constantFrom(300, 1514),
      fc.constantFrom(3000, 20_000, 32 << 20),
      fc.constantFrom(1, 3, 64),
      fc.array(burst, { minLength: 1, maxLength: 25 }),
      async (rate, limit, quantum, memoryLimit, dropBatch, bursts) => {
        const worker = await make(
          `rate: ${rate}bit, limit: ${limit}, memory-limit: ${memoryLimit}, drop-batch: ${dropBatch}, quantum: ${quantum}, target: 5ms, interval: 20ms, flows: 65536`,
        );
        const options: ShapeOptions = {
          ...{
            rate,
            slack: 1 * MS,
            limit,
            memoryLimit,
            dropBatch,
            target: 5 * MS,
            interval: 20 * MS,
            quantum,
            mtu: 1500,
          },
        };
        const reference = new ReferenceShaper(options);
        const START = 3600e9;
        let now = START;
        let id = 0;
        try {
          for (const { gap, packets } of bursts) {
            const end = now + gap * 1000;
            while (reference.due <= end) {
              now = Math.max(now + 1, reference.due);
              if (now > end) break;
              reference.send(now);
            }
            now = end;
            const sent = packets.map((one) => ({ ...one, id: id++ }));
            reference.arrive(sent, now);
            worker.advance(gap * 1000);
            worker.send("a", sent.map(packet));
          }
        } catch (error) {
          fc.pre(!(error instanceof Tie));
          throw error;
        }
        for (let i = 0; i < 100_000 && reference.due !== Number.POSITIVE_INFINITY; i++) {
          now = Math.max(now + 1, reference.due);
          reference.send(now);
        }
        worker.advance(3600e9);
        const left = worker.left.map(({ bytes, at }) => `${idOf(bytes)} at ${at}`);
        const sent = reference.events.filter(({ what }) => what === "sent");
        expect(left).toEqual(sent.map((event) => `${event.id} at ${event.at - START}`));
        const { counters, outputs } = worker.report().filters["shape"];
        const count = (what: Event["what"]) => reference.events.filter((event) => event.what === what).length;
        expect(outputs["drop"]).toBe(count("dropped"));
        expect(counters["marked"]).toBe(count("marked"));
        expect(counters["dropped"] + counters["overlimit"]).toBe(count("dropped"));
        const marked = new Set(
          reference.events.filter(({ what }) => what === "marked").map((event) => event.id),
        );
        for (const { bytes } of worker.left) if (marked.has(idOf(bytes))) expect(bytes[1] & 3).toBe(3);
        expect(worker.balance()).toMatchObject({ missing: 0, held: 0 });
        expect(worker.free.now).toBe(worker.free.all);
        overmemory += counters["overmemory"];
        expect(counters["overmemory"]).toBeLessThanOrEqual(counters["overlimit"]);
        for (const { what } of reference.events) seen[what]++;
      },
    ),
    { numRuns: 150 },
  );
  expect(overmemory).toBeGreaterThan(50);
  for (const what of ["sent", "dropped", "marked"] as const) expect(seen[what], what).toBeGreaterThan(50);
});

describe("over ten seconds of too much", () => {
  test("the rate is held within 1 %, and flows have the same of it", async () => {
    const worker = await make("rate: 10Mbit");
    for (let i = 0; i < 10_000; i++) {
      const from = (flow: number) => packet({ id: flow, flow, bytes: 1000, ecn: false });
      // One sends twice as much as another.
      worker.send("a", [from(1), from(2), from(2), from(3)]);
      worker.advance(1 * MS);
    }
    const late = worker.left.filter(({ at }) => at > 1000 * MS && at < 10_000 * MS);
    const rate = (late.length * 8000) / 9;
    expect(Math.abs(rate / 10e6 - 1)).toBeLessThan(0.01);
    for (const flow of [1, 2, 3]) {
      const share = late.filter(({ bytes }) => idOf(bytes) === flow).length / late.length;
      expect(Math.abs(share - 1 / 3)).toBeLessThan(0.01);
    }
  });

  test("a flow that sends little hardly waits", async () => {
    const worker = await make("rate: 10Mbit");
    const sentAt: number[] = [];
    for (let i = 0; i < 5000; i++) {
      worker.send(
        "a",
        Array.from({ length: 2 }, () => packet({ id: 60_000, flow: 1, bytes: 1500, ecn: false })),
      );
      if (i % 20 === 0) {
        sentAt.push(worker.time);
        worker.send("a", [packet({ id: sentAt.length - 1, flow: 2, bytes: 100, ecn: false })]);
      }
      worker.advance(1 * MS);
    }
    const waited = worker.left
      .filter(({ bytes }) => idOf(bytes) !== 60_000)
      .map(({ bytes, at }) => at - sentAt[idOf(bytes)]);
    expect(waited.length).toBe(sentAt.length);
    // One packet of the other flow is on the line: 1.2 ms; never the hundreds that wait behind it.
    expect(Math.max(...waited)).toBeLessThan(2.5 * MS);
  });
});
