// What built-in filters hold while a running pipeline goes over to other parameters: all of it leaves, once, in order.
import { describe, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { pipeline } from "../../src/library/pipeline.ts";
import { run } from "../../src/library/run.ts";

const PACKETS = 20;

function through(workers: number, kind: "shape" | "impair", params: Record<string, unknown>) {
  return pipeline({
    workers,
    devices: { in: { kind: "memory", queues: workers }, out: { kind: "memory" } },
    filters: { held: { kind, ...params } },
    paths: { main: { from: "in", through: ["held"], to: "out" } },
  });
}

/** Its number is its identification, its flow the last byte of its source address. */
const packet = (flow: number, number: number): Uint8Array =>
  buildPacket({ ipv4: { from: `10.0.0.${flow}`, to: "192.0.2.1", id: number }, udp: {} }).bytes;

describe.each([1, 2])("%i workers", (workers) => {
  const flows = Array.from({ length: workers }, (_, i) => i + 1);
  test.each([
    // So slow that all but the first would wait for minutes.
    ["shape", { rate: "1bit" }, { rate: "1Gbit" }, PACKETS * workers - 1],
    ["impair", { delay: "50ms" }, { delay: "60ms" }, 0],
  ] as const)("%s", async (kind, before, after, least) => {
    const running = await run(through(workers, kind, before));
    const send = (number: number) =>
      Promise.all(flows.map((flow, queue) => running.devices.in.write(packet(flow, number), { queue })));
    for (let i = 0; i < PACKETS; i++) await send(i);
    const seen = () => running.report().filters["held"];
    while (seen().packets < PACKETS * workers || seen().held < least)
      await new Promise((resolve) => setTimeout(resolve, 1));
    await running.reload(through(workers, kind, after));
    await send(PACKETS);
    running.devices.in.end();
    const came = new Map<number, number[]>(flows.map((flow) => [flow, []]));
    for await (const packets of running.devices.out) {
      for (const bytes of packets) came.get(bytes[15])?.push((bytes[4] << 8) | bytes[5]);
    }
    const all = Array.from({ length: PACKETS + 1 }, (_, i) => i);
    for (const flow of flows) expect(came.get(flow), `flow ${flow}`).toEqual(all);
    const report = await running.ended;
    expect(report.filters["held"].outputs).toEqual({ next: workers * (PACKETS + 1), drop: 0 });
    expect(conservation(report).missing).toBe(0);
  });
});
