// The same packets through nft, in a namespace, and through acl, verdict by verdict. Where the two differ on purpose, the
// filter's README says so, and a test here holds it to that.
import { beforeAll, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { FilterBench, type FilterModule, filterModule } from "../filters/bench.ts";
import { describeKernel } from "../support/namespace.ts";
import { type NftStep, nftVerdicts } from "../support/nft.ts";
import { hasTool } from "../support/pcap.ts";

let acl: FilterModule;
beforeAll(async () => {
  acl = await filterModule("acl");
});

type Layers = Record<string, unknown>;
interface Sent extends NftStep {
  said: string;
}
const send = (inside: boolean, packet: Layers, wait?: number): Sent => ({
  inside,
  bytes: buildPacket(packet).bytes,
  said: `${inside ? "out" : "in "} ${JSON.stringify(packet)}`,
  ...(wait === undefined ? {} : { wait }),
});

/** Packets on which the two differ, in words. */
function differences(params: object, sets: string, rules: string[], steps: Sent[], loose = true): string[] {
  const bench = new FilterBench(acl, params);
  const theirs = nftVerdicts(sets, rules, steps, loose);
  // Else it would show little.
  for (const verdict of [true, false])
    expect(theirs.filter((one) => one === verdict).length).toBeGreaterThan(2);
  return steps.flatMap(({ bytes, said, wait }, i) => {
    if (wait !== undefined) bench.advance(wait);
    const ours = bench.send(bytes).output === "next";
    return ours === theirs[i] ? [] : [`${i}: acl ${ours}, nft ${theirs[i]}: ${said}`];
  });
}

const INSIDE = { 4: ["10.0.0.1", "10.0.128.7", "10.1.0.1"], 6: ["2001:db8:1::1", "2001:db8:1:8000::7"] };
const OUTSIDE = { 4: ["192.0.2.1", "192.0.2.130", "198.51.100.1"], 6: ["2001:db8:2::1", "2001:db8:2:1::1"] };
/** The same for the same seed. */
function chance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** A rule in both languages. */
function rule(r: (below: number) => number): [Record<string, unknown>, string[]] {
  const said: Record<string, unknown> = { action: ["accept", "drop"][r(2)] };
  const family = r(3) === 0 ? 6 : 4;
  const ip = family === 4 ? "ip" : "ip6";
  const words: string[] = [];
  const pick = <T>(list: T[]) => list[r(list.length)];
  const prefixes =
    family === 4
      ? ["10.0.0.0/17", "10.0.0.0/8", "192.0.2.0/25", "192.0.2.1", "198.51.100.0/24"]
      : ["2001:db8:1::/64", "2001:db8:1::/48", "2001:db8:2::/64", "2001:db8:2::1"];
  // A rule of one family says so.
  said["from"] = family === 4 ? "0.0.0.0/0" : "::/0";
  words.push(`meta nfproto ipv${family}`);
  if (r(2) === 0) {
    const list = [pick(prefixes)];
    said["from"] = list;
    words.push(`${ip} saddr { ${list.join(", ")} }`);
  }
  if (r(3) === 0) {
    const list = [pick(prefixes)];
    said["to"] = list;
    words.push(`${ip} daddr { ${list.join(", ")} }`);
  }
  const set = r(6);
  if (set === 0) {
    said["not-to"] = family === 4 ? "servers4" : "servers6";
    words.push(`${ip} daddr != @servers${family}`);
  } else if (set === 1 && said["to"] === undefined) {
    said["to"] = family === 4 ? "servers4" : "servers6";
    words.push(`${ip} daddr @servers${family}`);
  }
  const what = r(7);
  if (what <= 1) {
    const proto = pick(["tcp", "udp"]);
    const ports = pick(["80", "79-81", "443"]);
    said["proto"] = proto;
    said["to-port"] = ports;
    words.push(`${proto} dport ${ports}`);
    if (r(3) === 0) {
      said["not-from-port"] = "1-22";
      words.push(`${proto} sport != 1-22`);
    }
  } else if (what === 2) {
    said["from-port"] = "443";
    words.push("meta l4proto { tcp, udp } th sport 443");
  } else if (what === 3) {
    const icmp =
      family === 4
        ? { proto: "icmp", words: "icmp", type: 8 }
        : { proto: "icmpv6", words: "icmpv6", type: 128 };
    said["proto"] = icmp.proto;
    said["icmp-type"] = icmp.type;
    words.push(`${icmp.words} type ${icmp.type}`);
  } else if (what === 4) {
    said["tcp-flags-set"] = "syn";
    said["tcp-flags-clear"] = ["ack", "rst"];
    words.push("tcp flags & (syn | ack | rst) == syn");
  } else if (what === 5) {
    said["dscp"] = [46, 8];
    words.push(`${ip} dscp { 46, 8 }`);
  } else {
    said["length"] = "60-100";
    words.push("meta length 60-100");
  }
  return [said, [`${words.join(" ")} ${said["action"]}`]];
}

function anyPacket(r: (below: number) => number): Sent {
  const family = r(3) === 0 ? 6 : 4;
  const inside = r(2) === 0;
  const ends = [INSIDE[family][r(INSIDE[family].length)], OUTSIDE[family][r(OUTSIDE[family].length)]];
  const [from, to] = inside ? ends : ends.reverse();
  const dscp = [0, 46, 8][r(3)] << 2;
  const ports = { "from-port": [1, 22, 23, 443, 5000][r(5)], "to-port": [79, 80, 82, 443][r(4)] };
  const flags = [["syn"], ["syn", "ack"], ["ack"], ["fin", "ack"], ["rst"], ["syn", "ece"]][r(6)];
  const layers: Layers[] = [
    { tcp: { ...ports, flags } },
    { udp: ports },
    family === 4 ? { icmp: { type: [0, 8, 13][r(3)] } } : { icmpv6: { type: [128, 129][r(2)] } },
  ];
  const ip = family === 4 ? { ipv4: { from, to, tos: dscp } } : { ipv6: { from, to, class: dscp } };
  return send(inside, { ...ip, ...layers[r(3)], payload: { bytes: r(40) } });
}

const SETS = `  set servers4 { type ipv4_addr; flags interval; elements = { 192.0.2.128/25, 198.51.100.1 } }
  set servers6 { type ipv6_addr; flags interval; elements = { 2001:db8:2:1::/64 } }`;
const OWN_SETS = { servers4: ["192.0.2.128/25", "198.51.100.1"], servers6: "2001:db8:2:1::/64" };

const skip = !hasTool("nft");
describeKernel("nft and acl decide alike", () => {
  test.skipIf(skip)("random rules with sets, negation, flags, DSCP and lengths (skipped without nft)", () => {
    for (let seed = 1; seed <= 4; seed++) {
      const r = chance(seed);
      const rules = Array.from({ length: 24 }, () => rule(r));
      // Both sets are used, whatever the dice say.
      const list = [
        ...rules.map(([ours]) => ours),
        { action: "drop", from: "192.0.2.255", to: ["servers4", "servers6"] },
      ];
      const steps = Array.from({ length: 400 }, () => anyPacket(r));
      const params = { sets: OWN_SETS, rules: list };
      expect(
        differences(
          params,
          SETS,
          rules.flatMap(([, theirs]) => theirs),
          steps,
        ),
      ).toEqual([]);
    }
  });

  const STATEFUL = { stateful: true, rules: [{ action: "accept", from: ["10.0.0.0/8", "2001:db8:1::/48"] }] };
  const CONNTRACK = [
    "ct state established,related accept",
    "ct state invalid drop",
    "ip saddr 10.0.0.0/8 accept",
    "ip6 saddr 2001:db8:1::/48 accept",
  ];

  test.skipIf(skip)("random packets of few connections: UDP, ICMP, GRE (skipped without nft)", () => {
    const steps: Sent[] = [];
    const r = chance(7);
    for (let i = 0; i < 1500; i++) {
      const family = r(3) === 0 ? 6 : 4;
      const inside = r(2) === 0;
      const ends = [INSIDE[family][r(2)], OUTSIDE[family][r(2)]];
      const [from, to] = inside ? ends : ends.reverse();
      const group = Math.floor(i / 30);
      const port = 1000 + group * 4 + r(2);
      const ports = { "from-port": port, "to-port": port };
      const type = family === 4 ? [8, 0, 13, 14][r(4)] : [128, 129][r(2)];
      const layer: Layers =
        r(3) === 0
          ? { udp: ports }
          : family === 4
            ? { icmp: { type, id: port } }
            : { icmpv6: { type, id: port } };
      const ip = family === 4 ? { ipv4: { from, to } } : { ipv6: { from, to } };
      const bytes = type === 13 || type === 14 ? 12 : 8;
      steps.push(send(inside, { ...ip, ...layer, payload: { bytes } }));
    }
    expect(differences(STATEFUL, "", CONNTRACK, steps)).toEqual([]);
  });

  /** Segments of few connections, their numbers within every window. */
  function segments(seed: number, count: number, group: number): Sent[] {
    const r = chance(seed);
    return Array.from({ length: count }, (_, i) => {
      const family = r(3) === 0 ? 6 : 4;
      const inside = r(2) === 0;
      const ends = [INSIDE[family][0], OUTSIDE[family][0]];
      const [from, to] = inside ? ends : ends.reverse();
      const port = 1000 + Math.floor(i / group) * 2 + r(2);
      const flags = [
        ["syn"],
        ["syn", "ack"],
        ["ack"],
        ["ack"],
        ["fin", "ack"],
        ["rst", "ack"],
        ["fin"],
        ["syn", "fin"],
        [],
      ][r(9)];
      const seq = flags.includes("syn") ? 999 : 1000;
      const tcp = {
        "from-port": port,
        "to-port": port,
        flags,
        seq,
        ack: flags.includes("ack") ? 1000 : 0,
        window: 60_000,
      };
      const ip = family === 4 ? { ipv4: { from, to } } : { ipv6: { from, to } };
      return send(inside, { ...ip, tcp });
    });
  }

  test.skipIf(skip)(
    "random segments of few TCP connections, from their beginning (skipped without nft)",
    () => {
      const params = { ...STATEFUL, "tcp-loose": false };
      expect(differences(params, "", CONNTRACK, segments(11, 3000, 12), false)).toEqual([]);
    },
  );

  test.skipIf(skip)(
    "and joined in the middle: acl takes an ACK behind a SYN that no answer was seen to (skipped without nft)",
    () => {
      const steps = segments(13, 3000, 12);
      const found = differences(STATEFUL, "", CONNTRACK, steps);
      // The connection is another one for the two from there on.
      const apart = new Set<string>();
      const others = found.filter((difference) => {
        const name = `${/"from-port":(\d+)/.exec(difference)![1]} ${difference.includes("ipv6")}`;
        if (apart.has(name)) return false;
        apart.add(name);
        return !/acl true, nft false: out .*"flags":\["ack"\]/.test(difference);
      });
      expect(others).toEqual([]);
      expect(found.length).toBeLessThan(60);
    },
  );

  test.skipIf(skip)("TCP within and outside of its windows (skipped without nft)", () => {
    const steps: Sent[] = [];
    const r = chance(5);
    for (let connection = 0; connection < 60; connection++) {
      const port = 2000 + connection;
      const scale = r(2) === 0 ? { options: "03030700" } : {};
      const segment = (
        inside: boolean,
        flags: string[],
        seq: number,
        ack: number,
        bytes = 0,
        window = 1000,
      ) => {
        const ends = [INSIDE[4][0], OUTSIDE[4][0]];
        const [from, to] = inside ? ends : ends.reverse();
        const tcp = {
          "from-port": inside ? port : 443,
          "to-port": inside ? 443 : port,
          flags,
          seq,
          ack,
          window,
        };
        const options = flags.includes("syn") ? scale : {};
        steps.push(send(inside, { ipv4: { from, to }, tcp: { ...tcp, ...options }, payload: { bytes } }));
      };
      segment(true, ["syn"], 1_000_000, 0);
      segment(false, ["syn", "ack"], 5_000_000, 1_000_001);
      segment(true, ["ack"], 1_000_001, 5_000_001);
      let [mine, yours] = [1_000_001, 5_000_001];
      for (let i = 0; i < 12; i++) {
        const bytes = r(400);
        const off = [0, 0, 0, 900, 1100, 70_000, 200_000, -900, -70_000, -200_000][r(10)];
        const ackOff = [0, 0, 0, 500, 2000, -500, -70_000][r(7)];
        if (r(2) === 0) {
          segment(true, ["ack"], mine + off, yours + ackOff, bytes);
          if (off === 0 && ackOff === 0) mine += bytes;
        } else {
          segment(false, ["ack"], yours + off, mine + ackOff, bytes);
          if (off === 0 && ackOff === 0) yours += bytes;
        }
      }
    }
    expect(differences(STATEFUL, "", CONNTRACK, steps)).toEqual([]);
  });

  test.skipIf(skip)("ICMP errors about connections and about nothing (skipped without nft)", () => {
    const steps: Sent[] = [];
    for (const family of [4, 6] as const) {
      const [from, to] = [INSIDE[family][0], OUTSIDE[family][0]];
      const ip = (a: string, b: string) =>
        family === 4 ? { ipv4: { from: a, to: b } } : { ipv6: { from: a, to: b } };
      const name = family === 4 ? "icmp" : "icmpv6";
      const udp = (port: number) => ({
        ...ip(from, to),
        udp: { "from-port": port, "to-port": 53 },
        payload: { bytes: 20 },
      });
      steps.push(send(true, udp(3000)));
      for (const type of family === 4 ? [3, 4, 5, 11, 12] : [1, 2, 3, 4]) {
        for (const [port, target] of [
          [3000, from],
          [3001, from],
          [3000, INSIDE[family][1]],
        ] as const) {
          const packet = {
            ...ip(OUTSIDE[family][1], target),
            [name]: { type, code: 0 },
            payload: { packet: udp(port) },
          };
          steps.push(send(false, packet));
        }
      }
      const echo = { ...ip(from, to), [name]: { type: family === 4 ? 8 : 128, id: 9 } };
      steps.push(send(true, echo));
      const error = { type: family === 4 ? 11 : 3, code: 0 };
      steps.push(send(false, { ...ip(OUTSIDE[family][1], from), [name]: error, payload: { packet: echo } }));
    }
    expect(differences(STATEFUL, "", CONNTRACK, steps)).toEqual([]);
  });

  test.skipIf(skip)(
    "fragments: by the ports of the first; acl drops what comes before it if none may wait (skipped without nft)",
    () => {
      const params = { "fragments-held": 0, rules: [{ action: "accept", proto: "udp", "to-port": 53 }] };
      const first = (id: number, port: number) =>
        send(true, {
          ipv4: { from: INSIDE[4][0], to: OUTSIDE[4][0], id, flags: "mf" },
          udp: { "from-port": 4000, "to-port": port, length: 24, checksum: "none" },
          payload: { bytes: 8 },
        });
      const second = (id: number) =>
        send(true, {
          ipv4: { from: INSIDE[4][0], to: OUTSIDE[4][0], id, protocol: 17, offset: 16 },
          payload: { bytes: 8 },
        });
      const steps = [first(1, 53), second(1), first(2, 54), second(2), second(3), first(3, 53)];
      // Connection tracking puts datagrams together: what is said of the last fragment is true of all.
      const rules = ["ct state new,established udp dport 53 accept"];
      const theirs = nftVerdicts("", rules, steps);
      const bench = new FilterBench(acl, params);
      const ours = steps.map(({ bytes }) => bench.send(bytes).output);
      expect([theirs[1], theirs[3], theirs[5]]).toEqual([true, false, true]);
      expect(ours).toEqual(["next", "next", "drop", "drop", "drop", "next"]);
    },
  );
});
