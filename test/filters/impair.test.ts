// impair's statistics against its models, in virtual time. Chances are seeded, so a run is like any other; bounds are five
// standard deviations of what the model says.
import { describe, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { VirtualWorker } from "../support/virtual-worker.ts";

const MS = 1e6;

function make(params: string): Promise<VirtualWorker> {
  return VirtualWorker.make(`pktflow: 1
devices: { a: { kind: tun }, b: { kind: tun, offload: off } }
filters: { net: { kind: impair, seed: 42, limit: 16384, ${params} } }
paths: { there: { from: a, through: [net], to: b }, back: { from: b, to: a } }
`);
}

function packet(id: number, size = 60): Uint8Array {
  const ports = { "from-port": 1, "to-port": 2 };
  return buildPacket({
    ipv4: { from: "10.0.0.1", to: "10.0.0.2", id: id & 0xffff },
    udp: { ...ports, checksum: "none" },
    payload: { bytes: size - 28 },
  }).bytes;
}
const packets = Array.from({ length: 65_536 }, (_, id) => packet(id));
const idOf = (bytes: Uint8Array) => bytes[4] * 256 + bytes[5];

/** Sends `count` packets, one every `gap` ns. @returns by packet, when its copies left, ns after it came */
async function delays(
  params: string,
  count: number,
  gap: number,
): Promise<{ worker: VirtualWorker; of: number[][] }> {
  const worker = await make(params);
  const of: number[][] = Array.from({ length: count }, () => []);
  for (let i = 0; i < count; i++) {
    worker.send("a", [packets[i]]);
    worker.advance(gap);
  }
  worker.advance(3600e9);
  for (const { bytes, at } of worker.left) of[idOf(bytes)]?.push(at - idOf(bytes) * gap);
  const { missing, held } = worker.balance();
  expect({ missing, held }).toEqual({ missing: 0, held: 0 });
  expect(worker.free.now).toBe(worker.free.all);
  return { worker, of };
}

const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
function deviation(values: number[]): number {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)));
}
/** Of each value with the one before. */
function autocorrelation(values: number[]): number {
  const middle = mean(values);
  const products = values.slice(1).map((value, i) => (value - middle) * (values[i] - middle));
  return mean(products) / deviation(values) ** 2;
}
/** The largest difference to a distribution function (Kolmogorov, Smirnov). */
function distance(values: number[], distribution: (value: number) => number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return Math.max(...sorted.map((value, i) => Math.abs(distribution(value) - (i + 0.5) / sorted.length)));
}
function near(actual: number, expected: number, bound: number): void {
  expect(Math.abs(actual - expected), `${actual} is near ${expected}`).toBeLessThanOrEqual(bound);
}
/** Five standard deviations of a share of `count` independent packets. */
const spread = (share: number, count: number) => 5 * Math.sqrt((share * (1 - share)) / count);

describe("delay", () => {
  test("begins when a packet came in, where the worker had slept as it did; not by another clock's time", async () => {
    // 1 ms of what a capture says, 300 us that another filter has held it for, and a time to come are not believed.
    for (const [ago, asked] of [
      [0, 20 * MS],
      [120e3, 20 * MS - 120e3],
      [300e3, 20 * MS],
      [-5e3, 20 * MS],
      [3600e9, 20 * MS],
    ]) {
      const worker = await make("delay: 20ms");
      worker.send("a", [packets[1]], { ago });
      worker.advance(1e9);
      expect(worker.left.map(({ at }) => at)).toEqual([asked]);
    }
  });

  test("is exactly what was asked for without jitter", async () => {
    const { of } = await delays("delay: 20ms", 2000, 0.1 * MS);
    for (const times of of) expect(times).toEqual([20 * MS]);
  });

  const COUNT = 20_000;
  /** Kolmogorov's bound at one in a million, and half a quantile of the tables. */
  const CLOSE = 2.7 / Math.sqrt(COUNT) + 1 / 4096;
  const erf = (x: number) => {
    // By Simpson's rule.
    const n = 400;
    const h = x / n;
    let sum = 1 + Math.exp(-x * x);
    for (let i = 1; i < n; i++) sum += (i % 2 === 1 ? 4 : 2) * Math.exp(-((i * h) ** 2));
    return ((2 / Math.sqrt(Math.PI)) * sum * h) / 3;
  };
  const MODELS: [string, (x: number) => number][] = [
    ["uniform", (x) => Math.min(1, Math.max(0, (x + 1) / 2))],
    ["normal", (x) => (1 + erf(x / Math.SQRT2)) / 2],
    // x = (u^(-1/3) - 1.5) 4/3.
    ["pareto", (x) => Math.max(0, 1 - (x * 0.75 + 1.5) ** -3)],
  ];
  test.each(MODELS)("varies as %s says", async (name, model) => {
    const { of } = await delays(`delay: 100ms, jitter: 10ms, distribution: ${name}`, COUNT, 0.01 * MS);
    const scaled = of.map(([time]) => (time - 100 * MS) / (10 * MS));
    expect(distance(scaled, model)).toBeLessThan(CLOSE);
  });

  test("varies by many seconds as by few", async () => {
    const few = 3000;
    const { of } = await delays("delay: 30s, jitter: 20s", few, 0.01 * MS);
    const scaled = of.map(([time]) => (time - 30e9) / 20e9);
    expect(distance(scaled, MODELS[0][1])).toBeLessThan(2.7 / Math.sqrt(few));
  });

  test("varies as paretonormal says: a quarter of one and three quarters of the other", async () => {
    const { of } = await delays("delay: 100ms, jitter: 10ms, distribution: paretonormal", COUNT, 0.01 * MS);
    const scaled = of.map(([time]) => (time - 100 * MS) / (10 * MS));
    // Pareto's variance of shape 3 is 3/4, times (4/3)^2; the tables end a little before infinity.
    const expected = Math.sqrt(0.25 ** 2 + 0.75 ** 2 * (0.75 * (4 / 3) ** 2));
    near(mean(scaled), 0, (5 * expected) / Math.sqrt(COUNT) + 0.02);
    near(deviation(scaled), expected, 0.1);
  });

  test("follows the one before as much as its correlation says", async () => {
    for (const share of [0, 25, 80]) {
      const { of } = await delays(
        `delay: 100ms, jitter: 10ms, delay-correlation: ${share}`,
        COUNT,
        0.01 * MS,
      );
      near(autocorrelation(of.map(([time]) => time)), share / 100, 5 / Math.sqrt(COUNT));
    }
  });

  test("that varies by more than the gap lets packets overtake; one that does not keeps them in order", async () => {
    const inOrder = (worker: VirtualWorker) =>
      worker.left.every(({ bytes }, i) => i === 0 || idOf(bytes) > idOf(worker.left[i - 1].bytes));
    expect(inOrder((await delays("delay: 10ms, jitter: 4ms", 500, 9 * MS)).worker)).toBe(true);
    expect(inOrder((await delays("delay: 10ms, jitter: 4ms", 500, 1 * MS)).worker)).toBe(false);
  });
});

describe("loss", () => {
  const COUNT = 60_000;
  const lost = (of: number[][]) => of.map((times) => times.length === 0);
  const share = (flags: boolean[]) => flags.filter(Boolean).length / flags.length;
  /** Lengths of runs of losses. */
  const bursts = (flags: boolean[]) =>
    flags
      .map((flag) => (flag ? "x" : "."))
      .join("")
      .split(/\.+/)
      .filter((run) => run !== "")
      .map((run) => run.length);

  test.each([0.1, 5, 50])("at random, %d percent: each on its own", async (percent) => {
    const { of, worker } = await delays(`loss: ${percent}`, COUNT, 1000);
    const flags = lost(of);
    near(share(flags), percent / 100, spread(percent / 100, COUNT));
    expect(worker.report().filters["net"].counters["lost"]).toBe(flags.filter(Boolean).length);
    near(mean(bursts(flags)), 1 / (1 - percent / 100), 0.1);
  });

  test("correlated: as netem's generator says, whose draws follow each other and so seldom come near their ends", async () => {
    const { of } = await delays("loss: 30, loss-correlation: 50", COUNT, 1000);
    // The same generator in plain numbers, with chances of its own.
    let last = 0.5;
    const model = Array.from({ length: COUNT }, () => {
      last = Math.random() * 0.5 + last * 0.5;
      return last < 0.3;
    });
    near(share(lost(of)), share(model), 0.02);
    near(mean(bursts(lost(of))), mean(bursts(model)), 0.1);
    expect(mean(bursts(lost(of)))).toBeGreaterThan(1.5);
  });

  test.each([
    [2, 20, 100, 0],
    [1, 10, 60, 0.5],
    [10, 40, 100, 0],
  ])("Gilbert-Elliott, p %d, r %d, 1-h %d, 1-k %d: losses, and how long they last", async (p, r, h, k) => {
    const { of } = await delays(`gemodel: [${p}, ${r}, ${h}, ${k}]`, COUNT, 1000);
    const flags = lost(of);
    const bad = p / (p + r);
    // Packets in a row are in the same state, so a share varies as that of fewer packets.
    const independent = (COUNT * (p + r)) / 200;
    near(share(flags), bad * (h / 100) + (1 - bad) * (k / 100), spread(bad, independent));
    if (h === 100 && k === 0)
      near(mean(bursts(flags)), 100 / r, (5 * (100 / r)) / Math.sqrt(bursts(flags).length));
  });
});

describe("duplicates, reordering, corruption", () => {
  const COUNT = 40_000;
  test("so many packets come twice", async () => {
    const { of, worker } = await delays("duplicate: 3, delay: 1ms", COUNT, 1000);
    const twice = of.filter((times) => times.length === 2).length;
    near(twice / COUNT, 0.03, spread(0.03, COUNT));
    expect(worker.report().filters["net"]).toMatchObject({ fresh: twice, counters: { duplicated: twice } });
  });

  test("so many overtake, and of these none closer than the gap", async () => {
    const { of } = await delays("delay: 10ms, reorder: 25", COUNT, 1000);
    near(of.filter(([time]) => time === 0).length / COUNT, 0.25, spread(0.25, COUNT));
    const gapped = (await delays("delay: 10ms, reorder: 50, gap: 5", COUNT, 1000)).of;
    const at = gapped.flatMap(([time], i) => (time === 0 ? [i] : []));
    expect(Math.min(...at.slice(1).map((i, n) => i - at[n]))).toBe(5);
    // Four that may not, and then two on average until one does.
    near(at.length / COUNT, 1 / 6, spread(1 / 6, COUNT));
  });

  test("one bit is flipped, anywhere in the packet", async () => {
    const worker = await make("corrupt: 20");
    const sent = packet(7, 64);
    for (let i = 0; i < COUNT / 64; i++)
      worker.send(
        "a",
        Array.from({ length: 64 }, () => sent),
      );
    const places = new Uint32Array(64 * 8);
    let corrupted = 0;
    for (const { bytes } of worker.left) {
      const bits = Array.from(bytes, (byte, i) => byte ^ sent[i]);
      const flipped = bits
        .flatMap((byte, i) => Array.from({ length: 8 }, (_, bit) => ((byte >> bit) & 1 ? i * 8 + bit : -1)))
        .filter((at) => at >= 0);
      if (flipped.length === 0) continue;
      expect(flipped).toHaveLength(1);
      places[flipped[0]]++;
      corrupted++;
    }
    near(corrupted / worker.left.length, 0.2, spread(0.2, worker.left.length));
    expect(worker.report().filters["net"].counters["corrupted"]).toBe(corrupted);
    expect(Math.min(...places)).toBeGreaterThan(0);
    near(Math.max(...places) / corrupted, 1 / 512, spread(1 / 512, corrupted));
  });

  test("nobody takes a corrupted packet for sound because the kernel vouched for it before", async () => {
    const worker = await VirtualWorker.make(`pktflow: 1
devices: { a: { kind: tun }, b: { kind: tun, offload: off } }
filters: { net: { kind: impair, seed: 42, corrupt: 100 }, sane: { kind: checksum, verify: [ipv4, udp] } }
paths: { there: { from: a, through: [net, sane], to: b }, back: { from: b, to: a } }
`);
    const sent = buildPacket({
      ipv4: { from: "10.0.0.1", to: "10.0.0.2" },
      udp: { "from-port": 1, "to-port": 2 },
      payload: { bytes: 1000 },
    }).bytes;
    const burst = Array.from({ length: 64 }, () => sent);
    for (let i = 0; i < 4; i++) worker.send("a", burst, { valid: true });
    expect(worker.left).toHaveLength(0);
    expect(worker.report().filters["sane"].packets).toBe(256);
  });
});

describe("rate", () => {
  test.each([
    ["rate: 10Mbit", 1500, 10e6],
    ["rate: 10Mbit, packet-overhead: 38", 100, (10e6 * 100) / 138],
    ["rate: 64kbit, delay: 300ms, jitter: 50ms", 200, 64e3],
  ])("%s: is what goes through, however much comes", async (params, size, bits) => {
    const worker = await make(params);
    const bytes = packet(1, size);
    const count = Math.min(16_384, Math.round((bits * 10) / (8 * size)));
    for (let i = 0; i < count; i++) worker.send("a", [bytes]);
    worker.advance(60e9);
    const [first] = worker.left;
    const last = worker.left[worker.left.length - 1];
    expect(worker.left).toHaveLength(count);
    near((((count - 1) * size * 8) / (last.at - first.at)) * 1e9, bits, bits * 0.001);
  });
});
