// sample and mirror against what they say: which packets are chosen, in exact numbers; that copies are copies, whole or cut; and
// that the share is what was asked for.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { type Flow, isFlowChosen, randomChoices } from "../reference/sample.ts";
import { VirtualWorker } from "../support/virtual-worker.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

let sample: FilterModule;
beforeAll(async () => {
  sample = await filterModule("sample");
});

const address = fc.oneof(
  fc.array(fc.nat(255), { minLength: 4, maxLength: 4 }),
  fc.array(fc.nat(255), { minLength: 16, maxLength: 16 }),
);
const flow = fc
  .record({
    from: address,
    to: address,
    fromPort: fc.nat(65_535),
    toPort: fc.nat(65_535),
    protocol: fc.constantFrom(6, 17),
  })
  .filter(({ from, to }) => from.length === to.length);
const text = (bytes: number[]) =>
  bytes.length === 4
    ? bytes.join(".")
    : Array.from({ length: 8 }, (_, i) => (bytes[2 * i] * 256 + bytes[2 * i + 1]).toString(16)).join(":");
function packet({ from, to, fromPort, toPort, protocol }: Flow, data = 4): Uint8Array {
  const ports = { "from-port": fromPort, "to-port": toPort };
  const ends = { from: text(from), to: text(to) };
  const transport = protocol === 6 ? { tcp: ports } : { udp: ports };
  return buildPacket({ [from.length === 4 ? "ipv4" : "ipv6"]: ends, ...transport, payload: { bytes: data } })
    .bytes;
}
const seed = fc.bigInt({ min: 1n, max: 2n ** 53n - 1n });
const oneIn = fc.oneof(fc.integer({ min: 1, max: 5 }), fc.constantFrom(1000, 2 ** 32 - 1));

describe("the choice", () => {
  test("by flow is the hash's, the same in both directions and on every worker", () => {
    let chosen = 0;
    fc.assert(
      fc.property(seed, oneIn, fc.array(flow, { minLength: 1, maxLength: 10 }), (s, n, flows) => {
        const params = { how: "flow", take: "divert", "one-in": n, seed: Number(s) };
        const bench = new FilterBench(sample, params, { workers: 2 });
        for (const one of flows) {
          const expected = isFlowChosen(one, n, s) ? "sample" : "next";
          const back = { ...one, from: one.to, to: one.from, fromPort: one.toPort, toPort: one.fromPort };
          expect(bench.send(packet(one)).output).toBe(expected);
          expect(bench.send(packet(back), 1).output).toBe(expected);
          if (n > 1 && expected === "sample") chosen++;
        }
      }),
      { numRuns: 200, seed: 3 },
    );
    expect(chosen).toBeGreaterThan(50);
  });

  test("at random is that of the seed, on each worker its own; by count every so many", () => {
    fc.assert(
      fc.property(seed, oneIn, fc.array(fc.nat(1), { minLength: 1, maxLength: 60 }), (s, n, workers) => {
        const bytes = packet({
          from: [10, 0, 0, 1],
          to: [10, 0, 0, 2],
          fromPort: 1,
          toPort: 2,
          protocol: 17,
        });
        const params = { take: "divert", "one-in": n, seed: Number(s) };
        const random = new FilterBench(sample, { ...params, how: "random" }, { workers: 2 });
        const count = new FilterBench(sample, { ...params, how: "count" }, { workers: 2 });
        const choices = [randomChoices(n, s, 0), randomChoices(n, s, 1)];
        const seen = [0, 0];
        for (const worker of workers) {
          const expected = choices[worker].next().value ? "sample" : "next";
          expect(random.send(bytes, worker).output).toBe(expected);
          expect(count.send(bytes, worker).output).toBe(seen[worker]++ % n === 0 ? "sample" : "next");
        }
      }),
      { numRuns: 100, seed: 4 },
    );
  });

  test.each(["count", "random", "flow"])("is one in ten, by %s", (how) => {
    const bench = new FilterBench(sample, { how, take: "divert", "one-in": 10, seed: 42 });
    for (let i = 0; i < 10_000; i++) {
      const from = [10, i >> 12, (i >> 6) & 63, i & 63];
      bench.send(packet({ from, to: [192, 0, 2, 1], fromPort: 1000 + (i % 7), toPort: 53, protocol: 17 }));
    }
    // The seed is always the same, and so is the number.
    expect(Math.abs(bench.counters["sampled"] - 1000)).toBeLessThan(how === "count" ? 1 : 100);
  });
});

describe("copies", () => {
  const make = (filter: string) =>
    VirtualWorker.make(
      `pktflow: 1
devices: { a: { kind: tun }, b: { kind: tun, offload: off }, c: { kind: tun, offload: off } }
filters: { it: ${filter} }
paths: { there: { from: a, through: [{ it: { OUT: aside } }], to: b }, aside: { to: c }, fromb: { from: b, to: a }, fromc: { from: c, to: a } }
`.replace("OUT", filter.includes("mirror") ? "copy" : "sample"),
    );

  test("mirror: every packet goes on as it came, and its copy is it, or its first bytes", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.constant(65_535), fc.integer({ min: 1, max: 200 })),
        fc.array(fc.tuple(flow, fc.nat(1200)), { minLength: 1, maxLength: 60 }),
        async (first, sent) => {
          const worker = await make(`{ kind: mirror, first: ${first} }`);
          const packets = sent.map(([one, data]) => packet(one, data));
          worker.send("a", packets);
          const left = (device: string) =>
            worker.left.filter((one) => one.device === device).map(({ bytes }) => [...bytes]);
          expect(left("b")).toEqual(packets.map((bytes) => [...bytes]));
          expect(left("c")).toEqual(packets.map((bytes) => [...bytes.slice(0, first)]));
          expect(worker.balance().missing).toBe(0);
          expect(worker.report().filters["it"]).toMatchObject({ fresh: packets.length, held: 0 });
        },
      ),
      { numRuns: 40, seed: 6 },
    );
  });

  test("sample: those that are chosen, in order; the packets go on, or leave instead", async () => {
    for (const take of ["copy", "divert"]) {
      const worker = await make(`{ kind: sample, one-in: 7, how: random, seed: 9, take: ${take} }`);
      const packets = Array.from({ length: 300 }, (_, i) =>
        packet({ from: [10, 0, 0, i & 255], to: [10, 0, 1, 0], fromPort: i, toPort: 9, protocol: 17 }),
      );
      for (const bytes of packets) worker.send("a", [bytes]);
      const choices = randomChoices(7, 9n, 0);
      const chosen = packets.map(() => choices.next().value as boolean);
      const left = (device: string) =>
        worker.left.filter((one) => one.device === device).map(({ bytes }) => [...bytes]);
      expect(left("c")).toEqual(packets.filter((_, i) => chosen[i]).map((bytes) => [...bytes]));
      expect(left("b")).toEqual(
        packets.filter((_, i) => take === "copy" || !chosen[i]).map((bytes) => [...bytes]),
      );
    }
  });
});
