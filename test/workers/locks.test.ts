// A filter that traps, or does not end, while it holds a lock in the state that workers share: the others go on.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { pipeline } from "../../src/library/pipeline.ts";
import { run } from "../../src/library/run.ts";
import { TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

const PACKETS = 20_000;
const WORKERS = 2;

/** Each way to lock: what locks, what lets go, and what traps in between, where that is not just anything. */
const LOCKS: Record<string, readonly [take: string, letGo: string, trap?: string]> = {
  "spin-lock": [
    `if (!lock(sharedState())) { counter(Counters.locked).add(1); return OUTPUT_DROP; }`,
    `unlock(sharedState());`,
  ],
  HashTable: [
    `const table = changetype<HashTable>(sharedState());
  const bucket = table.lock(1);
  if (bucket == 0) { counter(Counters.locked).add(1); return OUTPUT_DROP; }`,
    `table.unlock(bucket);`,
  ],
  "a line of TupleIndex": [
    `const index = changetype<TupleIndex>(sharedState());
  if (!index.remove(0, index.records.at(0), 0)) { counter(Counters.locked).add(1); return OUTPUT_DROP; }`,
    "",
    // Under the lock it reads the tuple.
    "index.insert(0, 0xffffff00, 0);",
  ],
  "a connection": [
    `const word = holdRecord(sharedState(), WORD_LIVE);
  if (word == 0) { counter(Counters.locked).add(1); return OUTPUT_DROP; }`,
    `releaseRecord(sharedState(), word, 0, 0, false, now());`,
  ],
  "two, let go of in the order in which they were taken": [
    `if (!lock(sharedState()) || !lock(sharedState() + 4)) { counter(Counters.locked).add(1); return OUTPUT_DROP; }
  unlock(sharedState());`,
    `unlock(sharedState() + 4);`,
  ],
};

/** Packets to 1000 ports, of which one is port 1500, on two workers, through a filter that locks for each of them. */
function scene(name: string, [take, letGo]: readonly [string, string, string?], bad: string) {
  const path = join(folder.path, name);
  mkdirSync(path, { recursive: true });
  writeFileSync(
    join(path, "filter.yaml"),
    "summary: Locks.\ncounters: { locked: Packets that found no lock. }\nstate: { shared: 4KiB }\n",
  );
  writeFileSync(
    join(path, "index.ts"),
    `import { counter, now, OUTPUT_DROP, OUTPUT_NEXT, Output, Packet, sharedState, Udp } from "pktflow/assembly";
import { holdRecord, releaseRecord, WORD_LIVE } from "pktflow/assembly/lib/conntrack-record";
import { HashTable } from "pktflow/assembly/lib/hash-table";
import { RecordPool } from "pktflow/assembly/lib/record-pool";
import { lock, unlock } from "pktflow/assembly/lib/spin-lock";
import { TupleIndex } from "pktflow/assembly/lib/tuple-index";
import { Counters } from "./params";
export function initShared(): void {
  if (${take.includes("HashTable")}) HashTable.format(sharedState(), RecordPool.format(sharedState() + 1024, 16, 16), 7);
  if (${take.includes("TupleIndex")}) TupleIndex.format(sharedState(), RecordPool.format(sharedState() + 1024, 16, 64), 7);
  if (${take.includes("holdRecord")}) store<u64>(sharedState(), WORD_LIVE);
}
export function packet(p: Packet): Output {
  ${take}
  if (Udp.of(p).destinationPort == 1500) { ${bad} }
  ${letGo}
  return OUTPUT_NEXT;
}
`,
  );
  return pipeline({
    workers: WORKERS,
    devices: {
      load: {
        kind: "generator",
        flows: { from: "10.0.0.1", "from-port": 999, to: "192.0.2.1", "to-port": "1000-1999", count: 1000 },
        packets: PACKETS,
        queues: WORKERS,
      },
      sink: { kind: "discard" },
    },
    filters: { own: { kind: path as "/" } },
    paths: { main: { from: "load", through: "own", to: "sink" } },
  });
}

describe.each(Object.entries(LOCKS))("%s", (_, lock) => {
  test("a trap while it is held loses the packet at fault and no other", async () => {
    const report = await (await run(scene(`trap-${lock[0].length}`, lock, lock[2] ?? "unreachable();")))
      .ended;
    const { traps, trapped, counters, outputs } = report.filters["own"];
    expect({ traps, trapped, rest: counters["locked"] + outputs["next"] }).toEqual({
      traps: PACKETS / 1000,
      trapped: PACKETS / 1000,
      rest: PACKETS - PACKETS / 1000,
    });
    // Were it not let go of, all behind the first trap would find it locked. The kernel may take a holder's core, though.
    expect(counters["locked"]).toBeLessThan(PACKETS / 10);
    expect(report.replacedWorkers).toBe(0);
    expect(conservation(report).missing).toBe(0);
  });
});

test.each(["spin-lock", "a connection"])(
  "a call that does not end while it holds %s is ended; a worker that waits for it is not, and goes on",
  async (which) => {
    const hang = "while (atomic.load<u32>(<usize>p.slot) != 0xdeadbeef) {}";
    const report = await (await run(scene(`hang-${which.length}`, LOCKS[which], hang))).ended;
    const { traps, trapped, counters, outputs } = report.filters["own"];
    // The port's flow is on one worker, which leaves the filter alone then.
    expect({ traps, replaced: report.replacedWorkers }).toEqual({ traps: 1, replaced: 1 });
    expect(outputs["next"] + counters["locked"] + trapped).toBe(PACKETS);
    expect(conservation(report).missing).toBe(0);
  },
);
