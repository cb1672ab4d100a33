// SharedTable and typed state, on workers at once: what one writes, the others see, and nothing is counted twice.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { pipeline } from "../../src/library/pipeline.ts";
import { run } from "../../src/library/run.ts";
import { TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

const PACKETS = 60_000;
const CLIENTS = 3;
const LIMIT = 1000;

test("a limit for each client holds for all workers together, to the packet", async () => {
  const path = join(folder.path, "limit");
  mkdirSync(path);
  writeFileSync(join(path, "filter.yaml"), "summary: Limits.\nstate: { worker: 16, shared: computed }\n");
  writeFileSync(
    join(path, "index.ts"),
    `import { Ipv4, now, OUTPUT_DROP, OUTPUT_NEXT, Output, Packet, random, SharedTable, sharedState, sharedStateBytes, workerStateAs } from "pktflow/assembly";
@unmanaged class Client { packets: u64; }
@unmanaged class Own { seen: u64; last: u64; }
export function sharedStateSize(at: usize): usize { return SharedTable.bytes(64, offsetof<Client>()); }
export function initShared(): void { SharedTable.format(sharedState(), 64, offsetof<Client>(), random()); }
export function packet(p: Packet): Output {
  const own = workerStateAs<Own>();
  // Another worker's would not count on by one.
  if (own.seen++ != own.last++) unreachable();
  const clients = SharedTable.at(sharedState());
  const client = clients.take<Client>(0, Ipv4.of(p).source, now());
  if (changetype<usize>(client) == 0) return OUTPUT_DROP;
  const isMore = ++client.packets > ${LIMIT};
  clients.release();
  return isMore ? OUTPUT_DROP : OUTPUT_NEXT;
}
`,
  );
  const flow = (client: number) => ({
    ...{ from: `10.0.0.${client}`, "from-port": "1000-1099", to: "192.0.2.1", "to-port": 9, count: 100 },
  });
  const flows = Array.from({ length: CLIENTS }, (_, i) => flow(i + 1));
  const report = await (
    await run(
      pipeline({
        workers: 2,
        devices: {
          load: { kind: "generator", queues: 2, packets: PACKETS, flows },
          sink: { kind: "discard" },
        },
        filters: { limit: { kind: path as "/" } },
        paths: { main: { from: "load", through: "limit", to: "sink" } },
      }),
    )
  ).ended;
  expect(report.devices["load"].queues.every(({ rx }) => rx.packets > 0)).toBe(true);
  expect(report.filters["limit"]).toMatchObject({ traps: 0, outputs: { next: CLIENTS * LIMIT } });
  expect(conservation(report).missing).toBe(0);
});
