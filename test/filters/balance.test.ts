// balance: its table is the paper's, shares and disruption are what the paper says of it, and packets go by it.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { CONTEXT } from "../../src/batches/layout.ts";
import { u64Write } from "../../src/batches/memory.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { maglevTable } from "../reference/maglev.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

let balance: FilterModule;
beforeAll(async () => {
  balance = await filterModule("balance");
});

interface Backend {
  name: string;
  weight: number;
  drain?: boolean;
}
const named = (count: number, weight: (i: number) => number = () => 1): Backend[] =>
  Array.from({ length: count }, (_, i) => ({ name: `backend-${i}`, weight: weight(i) }));

function bench(backends: Backend[], more: object = {}): FilterBench {
  return new FilterBench(balance, { backends: backends.map((one) => ({ ...one, via: one.name })), ...more });
}

/** The table of those that take new connections, as indices of backends, read from what the filter has prepared. */
function table(b: FilterBench, backends: number): number[] {
  const state = b.m.u32[(b.workers[0].context + CONTEXT.PREPARED_STATE) >>> 2];
  const size = b.m.u32[state >>> 2];
  const places = 8 * 2 ** Math.ceil(Math.log2(backends));
  const indices = Array.from({ length: places }, (_, i) => b.m.u16[(state + 64 + 8 * i + 4) >>> 1]);
  const scratch = Math.ceil((backends * 16) / 64) * 64;
  const first = (state + 64 + 8 * places + scratch) >>> 1;
  return Array.from(b.m.u16.slice(first, first + size), (place) => indices[place]);
}

const packet = (flow: number, flags: string[]) =>
  buildPacket({
    ipv4: { from: `10.0.${flow >> 8}.${flow & 255}`, to: "192.0.2.1" },
    tcp: { "from-port": 1024 + (flow % 977), "to-port": 80, flags },
  }).bytes;

function shares(entries: number[], count: number): number[] {
  const found = new Array<number>(count).fill(0);
  for (const backend of entries) found[backend]++;
  return found.map((entriesOf) => entriesOf / entries.length);
}

describe("the table", () => {
  test.each([
    ["one backend", named(1), 7],
    ["the paper's example of three, of a table of seven", named(3), 7],
    ["weights", named(5, (i) => [1, 2, 10, 0, 3][i]), 1009],
    ["1,000 of them", named(1000), 65_537],
  ])("is that of the paper's pseudocode: %s", (_, backends, size) => {
    expect(table(bench(backends, { size }), backends.length)).toEqual(maglevTable(backends, size));
  });

  test("is that of the pseudocode for any names and weights, and those that drain are not in it", () => {
    const one = fc.record({
      name: fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 20 }),
      weight: fc.nat({ max: 40 }),
      drain: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.uniqueArray(one, { minLength: 1, maxLength: 30, selector: ({ name }) => name }),
        fc.constantFrom(2, 3, 31, 257, 1009),
        (some, size) => {
          const backends = some.map((each, i) => ({ ...each, via: `out-${i % 3}` }));
          const taking = backends
            .map((each, i) => ({ ...each, i }))
            .filter(({ weight, drain }) => weight > 0 && !drain);
          const b = new FilterBench(balance, { backends, size });
          if (taking.length === 0) {
            expect(b.send(packet(1, ["syn"])).output).toBe("drop");
            expect(b.counters["no-backend"]).toBe(1);
          } else {
            const wanted = maglevTable(taking, size).map((index) => taking[index].i);
            expect(table(b, backends.length)).toEqual(wanted);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  test("has a prime of entries", () => {
    for (const [size, prime] of [
      [2, 2],
      [8, 11],
      [65_536, 65_537],
      [655_370, 655_373],
    ]) {
      expect(table(bench(named(2), { size }), 2)).toHaveLength(prime);
    }
  });
});

describe("what the paper says", () => {
  test("a table a hundred times as large as the backends gives each within 1 % of its share (3.4)", () => {
    const found = shares(table(bench(named(1000), { size: 100_000 }), 1000), 1000);
    for (const share of found) expect(Math.abs(share * 1000 - 1)).toBeLessThan(0.0101);
  });

  test("shares follow weights as closely", () => {
    const backends = named(20, (i) => 1 + (i % 4));
    const total = backends.reduce((sum, { weight }) => sum + weight, 0);
    shares(table(bench(backends), 20), 20).forEach((share, i) => {
      expect(Math.abs((share * total) / backends[i].weight - 1)).toBeLessThan(0.01);
    });
  });

  test.each([
    ["the small table", 65_537, [0.01, 0.03, 0.04]],
    ["the large one disturbs fewer", 655_373, [0.005, 0.008, 0.01]],
  ])("when of 1,000 backends some fail, few other entries change, %s (5.3, figure 12)", (_, size, most) => {
    const backends = named(1000);
    const before = table(bench(backends, { size }), 1000);
    [1, 5, 10].forEach((count, i) => {
      const failed = new Set(Array.from({ length: count }, (__, k) => 17 + 97 * k));
      const left = backends.filter((__, k) => !failed.has(k));
      const indices = left.map(({ name }) => Number(name.slice("backend-".length)));
      const after = table(bench(left, { size }), left.length).map((backend) => indices[backend]);
      const moved = before.filter((backend, at) => !failed.has(backend) && backend !== after[at]).length;
      expect(before.filter((backend) => failed.has(backend)).length / size).toBeCloseTo(count / 1000, 3);
      expect(moved / size).toBeLessThan(most[i]);
    });
  });
});

describe("packets", () => {
  test("are spread as the shares say, and stay where their connection is on every worker", () => {
    const backends = named(4, (i) => i + 1);
    const b = new FilterBench(
      balance,
      { backends: backends.map((one) => ({ ...one, via: one.name })) },
      { workers: 3 },
    );
    const FLOWS = 20_000;
    const went = Array.from({ length: FLOWS }, (_, flow) => b.send(packet(flow, ["syn"]), flow % 3).output);
    for (let flow = 0; flow < FLOWS; flow += 7)
      expect(b.send(packet(flow, ["ack"]), (flow + 1) % 3).output).toBe(went[flow]);
    backends.forEach(({ name, weight }) => {
      const share = went.filter((output) => output === name).length / FLOWS;
      expect(Math.abs(share - weight / 10)).toBeLessThan(5 * Math.sqrt(0.25 / FLOWS));
    });
  });

  test("of a connection that a worker has seen in a second that has not come yet to another worker are no new connection", () => {
    const b = new FilterBench(
      balance,
      { backends: named(3).map((one) => ({ ...one, via: one.name })) },
      { workers: 2 },
    );
    const [ahead, behind] = b.workers;
    u64Write(b.m, ahead.context + CONTEXT.NOW, b.now + 1e9);
    u64Write(b.m, behind.context + CONTEXT.NOW, b.now);
    const went = b.send(packet(7, ["syn"]), 0).output;
    expect(b.send(packet(7, ["ack"]), 1).output).toBe(went);
    const { counters } = b;
    const began = Object.keys(counters).filter((name) => name.startsWith("connections."));
    expect(began.map((name) => counters[name])).toEqual([1]);
  });

  test("of connections that began elsewhere go on, while a backend drains and when it is gone for most", () => {
    const FLOWS = 5000;
    const before = bench(named(10));
    const went = Array.from({ length: FLOWS }, (_, flow) => before.send(packet(flow, ["syn"])).output);
    const draining = bench(named(10).map((one, i) => ({ ...one, drain: i === 3 })));
    for (let flow = 0; flow < FLOWS; flow++)
      expect(draining.send(packet(flow, ["ack"])).output).toBe(went[flow]);
    for (let flow = FLOWS; flow < 2 * FLOWS; flow++)
      expect(draining.send(packet(flow, ["syn"])).output).not.toBe("backend-3");
    const without = bench(named(10).filter((_, i) => i !== 3));
    const moved = went.filter(
      (output, flow) => output !== "backend-3" && without.send(packet(flow, ["ack"])).output !== output,
    );
    expect(moved.length / FLOWS).toBeLessThan(0.02);
  });
});

describe("after a reload", () => {
  const NAMES = ["a", "b", "c", "d", "e", "f"];
  const backends = fc
    .uniqueArray(
      fc.record({
        name: fc.constantFrom(...NAMES),
        weight: fc.constantFrom(0, 1, 1, 1, 5),
        drain: fc.constantFrom(false, false, true),
      }),
      { minLength: 1, selector: ({ name }) => name },
    )
    .map((some) => some.map((one) => ({ ...one, via: one.name })));
  const params = fc.record({ backends, size: fc.constantFrom(31, 257) });
  const arrivals = fc.array(fc.record({ flow: fc.nat(30), begins: fc.boolean(), worker: fc.nat(1) }), {
    minLength: 10,
    maxLength: 60,
  });

  test("a connection goes where it went while that is there, else where a balancer started anew sends it", () => {
    let movedInAll = 0;
    fc.assert(
      fc.property(fc.array(fc.tuple(params, arrivals), { minLength: 2, maxLength: 5 }), (versions) => {
        // Outputs are those that there were at the start.
        const all = NAMES.map((name) => ({ name, via: name }));
        const b = new FilterBench(balance, { backends: all, size: 31 }, { workers: 2 });
        const went = new Map<number, string>();
        let moved = 0;
        for (const [version, packets] of versions) {
          b.reload(version);
          const there = new Map(version.backends.map((one) => [one.name, one]));
          // Each answers one question alone: it has nothing to remember.
          const anew = (flow: number, flags: string[]) =>
            new FilterBench(balance, version).send(packet(flow, flags)).output;
          for (const { flow, begins, worker } of packets) {
            const known = went.get(flow);
            const backend = known === undefined ? undefined : there.get(known);
            let expected = known;
            if (backend === undefined || (begins && backend.drain)) {
              expected = anew(flow, [begins || known !== undefined ? "syn" : "ack"]);
              if (expected !== "drop") {
                if (known !== undefined && backend === undefined) moved++;
                went.set(flow, expected);
              }
            }
            expect(b.send(packet(flow, [begins ? "syn" : "ack"]), worker).output).toBe(expected);
          }
        }
        expect(b.counters["moved"] ?? 0).toBe(moved);
        movedInAll += moved;
      }),
      { numRuns: 40, seed: 5 },
    );
    expect(movedInAll).toBeGreaterThan(100);
  });

  test("of two hundred backends one that goes takes its own connections with it and no others, and what is new is spread anew", () => {
    const FLOWS = 3000;
    const b = bench(named(200));
    const send = (flow: number, flags: string[]) => b.send(packet(flow, flags)).output;
    const before = Array.from({ length: FLOWS }, (_, flow) => send(flow, ["syn"]));
    const gone = before[0];
    const left = named(200).filter(({ name }) => name !== gone);
    // In another order: places in the list mean nothing to a connection.
    left.reverse();
    b.reload({ backends: left.map((one) => ({ ...one, via: one.name })) });
    const after = before.map((_, flow) => send(flow, ["ack"]));
    const moved = before.flatMap((backend, flow) => (after[flow] === backend ? [] : [flow]));
    expect(moved).toEqual(before.flatMap((backend, flow) => (backend === gone ? [flow] : [])));
    expect(b.counters["moved"]).toBe(moved.length);
    expect(after).not.toContain(gone);
  });
});
