// What nat says of mappings and sessions, read by the host's reader while workers write.
import { beforeAll, describe, expect, test } from "vitest";
import { CONTEXT } from "../../src/batches/layout.ts";
import { EventReader, type NatEvent } from "../../src/filters/events.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

let nat: FilterModule;
beforeAll(async () => {
  nat = await filterModule("nat");
});

function open(params: object, workers = 1): { bench: FilterBench; reader: EventReader } {
  const all = { inside: "10.77.0.0/16", outside: "198.51.100.2", sessions: 4000, mappings: 4000, ...params };
  const bench = new FilterBench(nat, all, { workers });
  const { m } = bench;
  return {
    bench,
    reader: new EventReader(m, m.u32[(bench.workers[0].context + CONTEXT.SHARED_STATE) >>> 2]),
  };
}
const send = (bench: FilterBench, host: number, to: string, worker = 0) =>
  bench.send(
    buildPacket({
      ipv4: { from: `10.77.${host >> 8}.${host & 255}`, to },
      udp: { "from-port": 5000, "to-port": 53 },
    }).bytes,
    worker,
  );
const words = ({ kind, inside, outside, remote }: NatEvent) =>
  `${kind} ${inside.address}:${inside.port} ${outside.address}:${outside.port}${remote ? ` ${remote.address}:${remote.port}` : ""}`;

test("mappings and sessions are said when they are made and when they end, in that order", () => {
  const { bench, reader } = open({ events: 64, "event-remotes": true, "udp-timeout": "10s" });
  send(bench, 5, "192.0.2.9");
  send(bench, 5, "192.0.2.9");
  send(bench, 5, "192.0.2.10");
  const ends = "10.77.0.5:5000 198.51.100.2:5000";
  // Filtering tells addresses apart, not ports, so a session's remote port is any.
  expect(reader.read().map(words)).toEqual([
    `mapping-made ${ends}`,
    `session-made ${ends} 192.0.2.9:0`,
    `session-made ${ends} 192.0.2.10:0`,
  ]);
  bench.advance(11);
  expect(reader.read().map(words)).toEqual([
    `session-ended ${ends} 192.0.2.9:0`,
    `session-ended ${ends} 192.0.2.10:0`,
    `mapping-ended ${ends}`,
  ]);
  expect(reader.read()).toEqual([]);
});

test("the remote end is left out unless it is asked for (RFC 6888 REQ-12)", () => {
  const { bench, reader } = open({ events: 64 });
  send(bench, 5, "192.0.2.9");
  const events = reader.read();
  expect(events.map(({ kind }) => kind)).toEqual(["mapping-made", "session-made"]);
  for (const event of events) {
    expect(event.remote).toBe(undefined);
    expect(event.protocol).toBe(17);
  }
});

test("without a ring there is nothing to read", () => {
  const { bench, reader } = open({});
  send(bench, 5, "192.0.2.9");
  expect(reader.read()).toEqual([]);
});

describe("a ring that is full", () => {
  test("keeps what it has, counts what it leaves out, and takes new ones when some were read, for ever", () => {
    const { bench, reader } = open({ events: 16 }, 2);
    let made = 0;
    let read = 0;
    for (let round = 0; round < 200; round++) {
      const sent = 1 + ((round * 7) % 13);
      for (let i = 0; i < sent; i++) send(bench, made++, "192.0.2.9", i & 1);
      const events = reader.read(round % 3 === 0 ? 4 : undefined);
      for (const event of events) expect(event.kind).toMatch(/^(mapping|session)-made$/);
      read += events.length;
    }
    read += reader.read().length;
    expect(bench.counters["mappings-made"]).toBe(made);
    // Two each: nothing is lost without being counted, nor read twice.
    expect(read + bench.counters["events-lost"]).toBe(2 * made);
    expect(bench.counters["events-lost"]).toBeGreaterThan(100);
    expect(read).toBeGreaterThan(500);
  });
});
