// nat and nat64 on real threads that race over one shared state: each thread sees every inside endpoint, in an order of its own,
// and all must agree on its mapping.
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { Race, THREADS } from "../support/race.ts";
import { type FilterModule, filterModule, type Sent } from "./bench.ts";

const SOURCE_PORT_AT = 20;

const modules = new Map<string, FilterModule>();
beforeAll(async () => {
  for (const kind of ["nat", "nat64"]) modules.set(kind, await filterModule(kind));
});

/** What is said of each, and from whom to whom endpoint i sends its packet to remote n. */
const KINDS = {
  nat: {
    params: { inside: "10.77.0.0/16", outside: "198.51.100.2" },
    ends: (i: number, n: number) => ({ ipv4: { from: `10.77.${i >> 8}.${i & 255}`, to: `192.0.2.${n}` } }),
  },
  nat64: {
    params: { outside: "198.51.100.2", "non-global": "translate" },
    ends: (i: number, n: number) => ({
      ipv6: { from: `fd00::${i.toString(16)}:5`, to: `64:ff9b::192.0.2.${n}` },
    }),
  },
};

/** Each inside endpoint sends to some remote ones, a packet each; the packets' order is by endpoint. */
class NatRace extends Race {
  private readonly packets: Uint8Array[];

  constructor(kind: keyof typeof KINDS, params: object, endpoints: number, remotes = 1) {
    const packets = Array.from({ length: endpoints * remotes }, (_, n) => {
      const i = Math.floor(n / remotes);
      return buildPacket({
        ...KINDS[kind].ends(i, n % remotes),
        udp: { "from-port": 1024 + (i % 7), "to-port": 53 },
      }).bytes;
    });
    super(modules.get(kind)!, { ...KINDS[kind].params, ...params }, packets);
    this.packets = packets;
  }

  /** Packets that were refused for want of a port, as often as they were. */
  refused = 0;

  /**
   * A thread that loses its processor while it holds a lock keeps the others waiting, for some 20 ms; then they drop their packet,
   * which is counted as `table-full` (assembly/lib/held-locks.ts). How often that is, is the machine's affair. Sent again, when
   * nobody else is at it, such a packet must find what the other threads found.
   * @returns by packet the outside port, undefined where it was dropped: all threads must agree
   */
  ports(seconds: number, reaped = false): (number | undefined)[] {
    const waitedInVain = this.waitedInVain;
    const answers = this.run(seconds, this.packets, reaped).map((sent) => sent.map(portOf));
    const inVain = this.waitedInVain - waitedInVain;
    this.refused += answers.flat().filter((port) => port === undefined).length - inVain;
    return answers.map((own, i) => {
      if (inVain > 0) this.sendAgain(i, own);
      expect(new Set(own).size, `packet ${i} got the ports ${own}`).toBe(1);
      return own[0];
    });
  }

  private sendAgain(i: number, answers: (number | undefined)[]): void {
    for (const [thread, port] of answers.entries()) {
      if (port !== undefined) continue;
      answers[thread] = portOf(this.bench.send(this.packets[i], thread));
      if (answers[thread] === undefined) this.refused++;
    }
  }

  private get waitedInVain(): number {
    return this.bench.counters["table-full"] ?? 0;
  }

  /** But for what was sent again. */
  get counters(): Record<string, number> {
    const { "table-full": _, ...others } = this.bench.counters;
    return others;
  }
}

function portOf({ output, bytes }: Sent): number | undefined {
  return output === "next" ? bytes[SOURCE_PORT_AT] * 256 + bytes[SOURCE_PORT_AT + 1] : undefined;
}

describe.each(["nat", "nat64"] as const)(`%s: ${THREADS} threads race`, (kind) => {
  let race: NatRace | undefined;
  afterEach(async () => {
    await race?.end();
    race = undefined;
  });

  function expectDistinct(ports: (number | undefined)[]): void {
    const taken = ports.filter((port) => port !== undefined);
    expect(new Set(taken).size).toBe(taken.length);
  }

  test("to make the same mappings: each is made once, and no two have the same port", () => {
    race = new NatRace(kind, {}, 2000);
    const ports = race.ports(0);
    expect(ports).not.toContain(undefined);
    expectDistinct(ports);
    expect(race.counters).toEqual({ "mappings-made": 2000, "sessions-made": 2000 });
    // Once made they stay.
    expect(race.ports(1)).toEqual(ports);
    expect(race.counters).toEqual({ "mappings-made": 2000, "sessions-made": 2000 });
  });

  test("to make sessions of the same mappings, while others end: an endpoint has one port, whomever it sends to", () => {
    const [endpoints, remotes] = [150, 8];
    race = new NatRace(
      kind,
      { ports: "1024-1183", mappings: 155, sessions: 1210, "udp-timeout": "2s" },
      endpoints,
      remotes,
    );
    let made = 0;
    for (let round = 0; round < 20; round++) {
      const ports = race.ports(round % 2 === 0 ? 3 : 1);
      if (round % 2 === 0) made += endpoints;
      expect(ports).not.toContain(undefined);
      const byEndpoint = Array.from({ length: endpoints }, (_, i) =>
        ports.slice(i * remotes, (i + 1) * remotes),
      );
      for (const own of byEndpoint) expect(new Set(own).size).toBe(1);
      expectDistinct(byEndpoint.map(([port]) => port));
    }
    const { counters } = race;
    // A mapping whose old sessions end one by one as new ones come does not end with them, so there may be fewer.
    expect(counters["mappings-made"]).toBeLessThanOrEqual(made);
    expect(counters["sessions-made"]).toBe(made * remotes);
    expect(counters["sessions-made"] - counters["sessions-expired"]).toBe(endpoints * remotes);
    expect(counters["mappings-made"] - counters["mappings-expired"]).toBe(endpoints);
  });

  test("while mappings end and are made anew, with hardly a port or record to spare", () => {
    race = new NatRace(kind, { ports: "1024-1343", mappings: 310, "udp-timeout": "2s" }, 300);
    let made = 0;
    let expired = 0;
    for (let round = 0; round < 100; round++) {
      // Three seconds: all have ended; one: none has.
      const anew = round === 0 || round % 2 === 0;
      const ports = race.ports(anew ? 3 : 1);
      expect(ports).not.toContain(undefined);
      expectDistinct(ports);
      if (anew) {
        made += 300;
        expired += round === 0 ? 0 : 300;
      }
    }
    expect(race.counters).toEqual({
      ...{ "mappings-made": made, "mappings-expired": expired },
      ...{ "sessions-made": made, "sessions-expired": expired },
    });
  });

  test("for fewer ports than there are endpoints: every port is taken, once, and the rest is refused and counted", () => {
    race = new NatRace(kind, { ports: "5000-5063", "udp-timeout": "2s" }, 200);
    for (let round = 1; round <= 20; round++) {
      const ports = race.ports(3, true);
      expect(ports.filter((port) => port !== undefined).length).toBe(64);
      expectDistinct(ports);
      expect(race.counters).toEqual({
        "mappings-made": 64 * round,
        "sessions-made": 64 * round,
        "no-port": race.refused,
        ...(round > 1 ? { "mappings-expired": 64 * (round - 1), "sessions-expired": 64 * (round - 1) } : {}),
      });
    }
  });
});
