// run(): packets from and to a program's memory, the report, the ends that a run can have.
import { writeFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { pipeline } from "../../src/library/pipeline.ts";
import { run } from "../../src/library/run.ts";
import { pktflow, TemporaryFolder } from "../support/pktflow.ts";

/** A packet of no known protocol that says its number: filters let it by. */
function numbered(number: number, length: number): Uint8Array {
  const packet = new Uint8Array(length).fill(number);
  packet[0] = 0;
  new DataView(packet.buffer).setUint32(4, number);
  return packet;
}
const numberOf = (packet: Uint8Array) => new DataView(packet.buffer, packet.byteOffset).getUint32(4);

function wire(options: { queues?: number; buffer?: string; workers?: number } = {}) {
  const { workers, ...device } = options;
  return pipeline({
    ...(workers === undefined ? {} : { workers }),
    devices: { in: { kind: "memory", ...device }, out: { kind: "memory", ...device } },
    paths: { main: { from: "in", to: "out" } },
  });
}

async function collect(device: AsyncIterable<Uint8Array[]>): Promise<Uint8Array[]> {
  const all: Uint8Array[] = [];
  for await (const packets of device) all.push(...packets);
  return all;
}

describe("a memory device", () => {
  test("carries every packet, in order and to the byte, through buffers much smaller than all of them", async () => {
    const lengths = fc.sample(fc.integer({ min: 8, max: 1500 }), { numRuns: 5000, seed: 7 });
    const sent = lengths.map((length, i) => numbered(i, length));
    const running = await run(wire({ buffer: "256KiB" }));
    const taking = collect(running.devices.out);
    await running.devices.in.write(sent);
    running.devices.in.end();
    const taken = await taking;
    const report = await running.ended;
    expect(taken.length).toBe(sent.length);
    expect(taken.every((packet, i) => Buffer.from(packet).equals(sent[i]))).toBe(true);
    expect(conservation(report)).toMatchObject({ in: 5000, out: 5000, drops: {}, missing: 0 });
  });
  test("waits for a slow taker", async () => {
    const running = await run(wire({ buffer: "256KiB" }));
    const numbers: number[] = [];
    const taking = running.devices.out.onPackets(async (packets) => {
      await new Promise((resolve) => setTimeout(resolve, 2));
      numbers.push(...packets.map(numberOf));
    });
    await running.devices.in.feed(Array.from({ length: 2000 }, (_, i) => numbered(i, 1400)));
    await taking;
    expect(numbers).toEqual(Array.from({ length: 2000 }, (_, i) => i));
    expect(conservation(await running.ended)).toMatchObject({ out: 2000, drops: {}, missing: 0 });
  });
  test("drops, counted, what nobody takes, and keeps what had room", async () => {
    const running = await run(wire({ buffer: "256KiB" }));
    await running.devices.in.feed([Array.from({ length: 1000 }, (_, i) => numbered(i, 1000))]);
    const report = await running.ended;
    const kept = running.devices.out.take();
    expect(kept.map(numberOf)).toEqual(kept.map((_, i) => i));
    expect(kept.length).toBeGreaterThan(200);
    expect(conservation(report)).toMatchObject({
      in: 1000,
      out: kept.length,
      drops: { "out would-block": 1000 - kept.length },
      missing: 0,
    });
  });
  test("has queues, each a worker's", async () => {
    const running = await run(wire({ queues: 2 }));
    const taking = collect(running.devices.out);
    running.devices.in.send(numbered(1, 100), { queue: 0 });
    running.devices.in.send([numbered(2, 100), numbered(3, 100)], { queue: 1 });
    running.devices.in.end();
    expect((await taking).map(numberOf).sort()).toEqual([1, 2, 3]);
    const { queues } = (await running.ended).devices["out"];
    expect(queues.map(({ tx }) => tx.packets)).toEqual([1, 2]);
  });
  test("takes what there is room for with send(), and says how much that was", async () => {
    const running = await run(wire({ buffer: "256KiB" }));
    const packets = Array.from({ length: 400 }, (_, i) => numbered(i, 1500));
    const first = running.devices.in.send(packets);
    // Without a break the worker may have taken some already, but never less than the ring's room goes in.
    expect(first).toBeGreaterThan(100);
    expect(first).toBeLessThanOrEqual(400);
    await running.stop();
    expect(() => running.devices.in.send(packets)).toThrow('device "in": the pipeline has ended');
  });
  test("refuses packets that are too long, empty, for no queue, or sent where no path begins", async () => {
    const running = await run(wire());
    const { in: input, out } = running.devices;
    expect(() => input.send(new Uint8Array(1501))).toThrow(/1501 bytes cannot be sent: 1 to 1500 can/);
    expect(() => input.send(new Uint8Array(0))).toThrow(RangeError);
    expect(() => input.send(numbered(1, 20), { queue: 1 })).toThrow("has the queues 0 to 0, not 1");
    expect(() => out.send(numbered(1, 20))).toThrow('device "out" is where no path begins');
    await expect(collect(input)).rejects.toThrow('device "in" is where no path ends');
    input.end();
    expect(() => input.send(numbered(1, 20))).toThrow("end() was called");
    expect((await running.ended).devices["in"].queues[0].rx.packets).toBe(0);
  });
  test("write() that waits for room ends when the pipeline does", async () => {
    const running = await run(wire({ buffer: "256KiB" }));
    const taking = running.devices.out[Symbol.asyncIterator]();
    await running.devices.in.write(numbered(0, 1500));
    // Somebody takes, and then no more: the worker waits for room, and so does the writer.
    await taking.next();
    const writing = running.devices.in.write(Array.from({ length: 5000 }, (_, i) => numbered(i, 1500)));
    const failed = expect(writing).rejects.toThrow(
      /^device "in": the pipeline ended with \d+ packets still to be sent$/,
    );
    await new Promise((resolve) => setTimeout(resolve, 50));
    const report = await running.stop();
    await failed;
    expect(conservation(report).missing).toBe(0);
  });
});

test("the command line, where no program is, refuses a memory device", async () => {
  const folder = new TemporaryFolder();
  const file = folder.file("memory.yaml");
  writeFileSync(
    file,
    "pktflow: 1\ndevices: { in: { kind: memory }, sink: { kind: discard } }\npaths: { main: { from: in, to: sink } }\n",
  );
  expect((await pktflow(["check", file])).status).toBe(0);
  const { status, stderr } = await pktflow(["run", file]);
  folder.remove();
  expect(stderr).toMatch(
    /^pktflow: device "in": a memory device has its packets from a program, and there is none:/,
  );
  expect(status).toBe(2);
});

describe("a run", () => {
  const endless = () =>
    pipeline({
      devices: {
        load: { kind: "generator", flows: { from: "10.0.0.1", to: "192.0.2.1" }, rate: "20kpps" },
        sink: { kind: "discard" },
      },
      paths: { main: { from: "load", to: "sink" } },
    });
  test("ends after `for`, as a number or as text", async () => {
    for (const limit of [100, "100ms"]) {
      const running = await run(endless(), { for: limit });
      const { seconds, devices } = await running.ended;
      expect(seconds).toBeGreaterThanOrEqual(0.09);
      expect(devices["sink"].queues[0].tx.packets).toBeGreaterThan(0);
    }
    await expect(run(endless(), { for: "soon" })).rejects.toThrow(RangeError);
  });
  test("ends at stop(), at an AbortSignal, and at the end of an `await using` block", async () => {
    const running = await run(endless());
    expect((await running.stop()).workers).toBe(1);
    const controller = new AbortController();
    const aborted = await run(endless(), { signal: controller.signal });
    controller.abort();
    await aborted.ended;
    await expect(run(endless(), { signal: controller.signal })).rejects.toThrow("aborted");
    const used = await run(endless());
    await used[Symbol.asyncDispose]();
    await used.ended;
  });
  test("has live counters", async () => {
    const running = await run(endless());
    const read = () => running.report().devices["sink"].queues[0].tx.packets;
    const first = read();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(read()).toBeGreaterThan(first);
    await running.stop();
  });
  test("is refused with what the system says", async () => {
    const flow = pipeline({
      devices: { capture: { kind: "pcap", read: "/nowhere/at/all.pcap" }, sink: { kind: "discard" } },
      paths: { main: { from: "capture", to: "sink" } },
    });
    await expect(run(flow)).rejects.toThrow(/\/nowhere\/at\/all\.pcap.*ENOENT/);
  });
});
