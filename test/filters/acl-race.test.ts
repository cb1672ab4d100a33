// acl's connections on real threads that race over one shared state: each thread sees every packet, in an order of its own.
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { Race, THREADS } from "../support/race.ts";
import { type FilterModule, filterModule } from "./bench.ts";

let acl: FilterModule;
beforeAll(async () => {
  acl = await filterModule("acl");
});

/** So many packets, which differ from round to round. */
class AclRace extends Race {
  private readonly count: number;

  /** @param packet as long as all that will stand in its place */
  constructor(params: object, count: number, packet: Uint8Array) {
    super(acl, { stateful: true, ...params }, Array<Uint8Array>(count).fill(packet));
    this.count = count;
  }

  /** @returns by packet, the outputs that the threads gave it */
  outputs(seconds: number, packets: (place: number) => Uint8Array): string[][] {
    const sent = this.run(
      seconds,
      Array.from({ length: this.count }, (_, i) => packets(i)),
    );
    return sent.map((own) => own.map(({ output }) => output));
  }
}

const inside = (i: number) => `10.77.${i >> 8}.${i & 255}`;
const udpOut = (i: number) =>
  buildPacket({ ipv4: { from: inside(i), to: "192.0.2.9" }, udp: { "from-port": 1000, "to-port": 53 } })
    .bytes;
const udpBack = (i: number) =>
  buildPacket({ ipv4: { from: "192.0.2.9", to: inside(i) }, udp: { "from-port": 53, "to-port": 1000 } })
    .bytes;
const tcp = (i: number, isOut: boolean, flags: string[], seq: number, ack: number) =>
  buildPacket({
    ipv4: isOut ? { from: inside(i), to: "192.0.2.9" } : { from: "192.0.2.9", to: inside(i) },
    tcp: { "from-port": isOut ? 1000 : 443, "to-port": isOut ? 443 : 1000, flags, seq, ack, window: 1000 },
  }).bytes;
const RULES = [{ action: "accept", from: "10.77.0.0/16" }];
const every = (outputs: string[][]) => new Set(outputs.flat());

describe(`${THREADS} threads race`, () => {
  let race: AclRace | undefined;
  afterEach(async () => {
    await race?.end();
    race = undefined;
  });

  test("to begin the same connections: each begins once, and its answers pass on every thread", () => {
    race = new AclRace({ rules: RULES, connections: 4096 }, 2000, udpOut(0));
    expect(every(race.outputs(0, udpOut))).toEqual(new Set(["next"]));
    expect(race.bench.counters).toEqual({ "rules.0": 2000 * THREADS, "connections-made": 2000 });
    expect(every(race.outputs(1, udpBack))).toEqual(new Set(["next"]));
    expect(every(race.outputs(1, udpOut))).toEqual(new Set(["next"]));
    expect(race.bench.counters).toEqual({
      "rules.0": 2000 * THREADS,
      "connections-made": 2000,
      established: 4000 * THREADS,
    });
  });

  test("through the states of TCP: every segment belongs to its connection, and after RST a SYN begins another", () => {
    race = new AclRace({ rules: RULES, connections: 1024 }, 500, tcp(0, true, ["syn"], 0, 0));
    for (let round = 1; round <= 10; round++) {
      const seq = round * 100_000;
      expect(every(race.outputs(1, (i) => tcp(i, true, ["syn"], seq, 0)))).toEqual(new Set(["next"]));
      expect(every(race.outputs(1, (i) => tcp(i, false, ["syn", "ack"], 7000, seq + 1)))).toEqual(
        new Set(["next"]),
      );
      expect(every(race.outputs(1, (i) => tcp(i, true, ["ack"], seq + 1, 7001)))).toEqual(new Set(["next"]));
      expect(every(race.outputs(1, (i) => tcp(i, false, ["ack"], 7001, seq + 5000)))).toEqual(
        new Set(["drop"]),
      );
      expect(every(race.outputs(1, (i) => tcp(i, false, ["rst", "ack"], 7001, seq + 1)))).toEqual(
        new Set(["next"]),
      );
      expect(race.bench.counters["connections-made"]).toBe(500 * round);
      expect(race.bench.counters["invalid"]).toBe(500 * THREADS * round);
    }
  });

  test.each([
    [100, 60],
    [4, 20],
    [1, 20],
  ])(
    "for a table of %i, far too small: what begins is what has ended, made room, or is still there",
    (connections, rounds) => {
      race = new AclRace({ rules: RULES, connections, "udp-timeout": "2s" }, 300, udpOut(0));
      for (let round = 0; round < rounds; round++) {
        // Three seconds: what nobody has answered has ended by then.
        race.outputs(round % 3 === 0 ? 3 : 1, round % 4 === 3 ? udpBack : udpOut);
        const counters = race.bench.counters;
        const gone = (counters["connections-ended"] ?? 0) + (counters["connections-evicted"] ?? 0);
        expect((counters["connections-made"] ?? 0) - gone).toBeLessThanOrEqual(connections);
        expect((counters["connections-made"] ?? 0) - gone).toBeGreaterThanOrEqual(0);
      }
      expect(race.bench.counters["connections-evicted"]).toBeGreaterThan(100);
      // The table is as good as before: when all has ended, it takes as many again.
      race.bench.advance(1000);
      for (let i = 0; i < connections; i++) expect(race.bench.send(udpOut(i)).output).toBe("next");
      for (let i = 0; i < connections; i++) expect(race.bench.send(udpBack(i)).output).toBe("next");
      expect(race.bench.send(udpOut(200)).output).toBe("drop");
    },
  );
});
