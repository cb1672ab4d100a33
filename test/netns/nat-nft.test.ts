// nat and the kernel's: the same packets through nft masquerade and dnat in a namespace, and through the filter, verdict by
// verdict and byte by byte. Where the two differ is listed here, each with the reason; assembly/filters/nat/README.md says
// the same.
//
//   lan 10.77.0.0/24 ---- [ kernel: masquerade, dnat | nat ] ---- wan, outside address 198.51.100.2
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { FilterBench, type FilterModule, filterModule } from "../filters/bench.ts";
import { KernelRouter, LACKS_NFT, type Side } from "../support/kernel-router.ts";
import { describeKernel } from "../support/namespace.ts";

const OUTSIDE = "198.51.100.2";
// What is for the router itself is dropped without an answer, as nat drops it.
const RULES = `
table ip test {
  chain input { type filter hook input priority 0; policy drop; }
  chain pre { type nat hook prerouting priority dstnat; iifname "wan0" tcp dport 8080 dnat to 10.77.0.80:80; }
  chain post { type nat hook postrouting priority srcnat; oifname "wan0" masquerade; }
}`;
const PARAMS = {
  inside: "10.77.0.0/24",
  outside: OUTSIDE,
  forward: { proto: "tcp", port: 8080, to: "10.77.0.80", "to-port": 80 },
  hairpin: "turn",
};

/** A packet of a scenario; `$name` is the port that the implementation at hand chose at that step. */
interface Step {
  name?: string;
  from: Side;
  packet: Record<string, unknown>;
}
const A = "10.77.0.5";
const B = "10.77.0.6";
const R = "192.0.2.9";
const S = "203.0.113.7";
const out = (packet: Record<string, unknown>, name?: string): Step => ({
  from: "lan",
  packet,
  ...(name ? { name } : {}),
});
const back = (packet: Record<string, unknown>): Step => ({ from: "wan", packet });
const udp = (from: string, fromPort: unknown, to: string, toPort: unknown, more: object = {}) => ({
  ipv4: { from, to },
  udp: { "from-port": fromPort, "to-port": toPort, ...more },
  payload: "data!",
});
const tcp = (
  from: string,
  fromPort: unknown,
  to: string,
  toPort: unknown,
  flags: string[],
  more: object = {},
) => ({
  ipv4: { from, to },
  tcp: { "from-port": fromPort, "to-port": toPort, flags, ...more },
});
const echo = (from: string, to: string, type: number, id: unknown) => ({
  ipv4: { from, to },
  icmp: { type, id, seq: 3 },
  payload: "ping",
});
const error = (from: string, to: string, type: number, code: number, packet: object, rest = 0) => ({
  ipv4: { from, to },
  icmp: { type, code, rest },
  payload: { packet },
});

/** What both do alike. Each block is about endpoints of its own. */
const ALIKE: Record<string, Step[]> = {
  "UDP out and back": [
    out(udp(A, 5000, R, 53), "u"),
    back(udp(R, 53, OUTSIDE, "$u")),
    out(udp(A, 5000, R, 53)),
    back(udp(R, 54, OUTSIDE, "$u")),
    back(udp(S, 53, OUTSIDE, "$u")),
    back(udp(R, 53, OUTSIDE, 5999)),
  ],
  "UDP without a checksum, with IP options": [
    out(udp(A, 5010, R, 53, { checksum: "none" }), "n"),
    back(udp(R, 53, OUTSIDE, "$n", { checksum: "none" })),
    out({ ...udp(A, 5011, R, 53), ipv4: { from: A, to: R, options: "01010101" } }, "o"),
    back({ ...udp(R, 53, OUTSIDE, "$o"), ipv4: { from: R, to: OUTSIDE, options: "01010101" } }),
  ],
  "two hosts with the same port": [
    out(udp(A, 5020, R, 53), "first"),
    out(udp(B, 5020, R, 53), "second"),
    back(udp(R, 53, OUTSIDE, "$second")),
    back(udp(R, 53, OUTSIDE, "$first")),
  ],
  "TCP: opening, data, both FIN": [
    out(tcp(A, 4000, R, 80, ["syn"], { seq: 100, options: "020405b4" }), "t"),
    back(tcp(R, 80, OUTSIDE, "$t", ["syn", "ack"], { seq: 900, ack: 101, options: "020405b4" })),
    out(tcp(A, 4000, R, 80, ["ack"], { seq: 101, ack: 901 })),
    out({ ...tcp(A, 4000, R, 80, ["ack", "psh"], { seq: 101, ack: 901 }), payload: "GET /" }),
    back(tcp(R, 80, OUTSIDE, "$t", ["ack"], { seq: 901, ack: 106 })),
    out(tcp(A, 4000, R, 80, ["fin", "ack"], { seq: 106, ack: 901 })),
    back(tcp(R, 80, OUTSIDE, "$t", ["fin", "ack"], { seq: 901, ack: 107 })),
    out(tcp(A, 4000, R, 80, ["ack"], { seq: 107, ack: 902 })),
  ],
  "TCP from outside to nobody, and to somebody else's connection": [
    back(tcp(R, 80, OUTSIDE, 4999, ["syn"])),
    out(tcp(A, 4010, R, 80, ["syn"], { seq: 1 }), "x"),
    back(tcp(S, 80, OUTSIDE, "$x", ["syn", "ack"], { seq: 1, ack: 2 })),
  ],
  "a port that leads inside": [
    back(tcp(R, 7000, OUTSIDE, 8080, ["syn"], { seq: 10 })),
    out(tcp("10.77.0.80", 80, R, 7000, ["syn", "ack"], { seq: 50, ack: 11 })),
    back(tcp(R, 7000, OUTSIDE, 8080, ["ack"], { seq: 11, ack: 51 })),
    back(tcp(S, 7000, OUTSIDE, 8081, ["syn"], { seq: 10 })),
  ],
  "ICMP queries": [
    out(echo(A, R, 8, 7700), "q"),
    back(echo(R, OUTSIDE, 0, "$q")),
    back(echo(S, OUTSIDE, 0, "$q")),
    back(echo(R, OUTSIDE, 0, 999)),
    back(echo(R, OUTSIDE, 8, 7700)),
  ],
  "ICMP errors from outside": [
    out(udp(A, 5030, R, 33434), "e"),
    back(error(S, OUTSIDE, 11, 0, udp(OUTSIDE, "$e", R, 33434))),
    back(error(R, OUTSIDE, 3, 3, udp(OUTSIDE, "$e", R, 33434))),
    back(error(S, OUTSIDE, 3, 4, udp(OUTSIDE, "$e", R, 33434), 1400)),
    back(error(S, OUTSIDE, 3, 1, udp(OUTSIDE, "$e", S, 33434))),
    back(error(S, OUTSIDE, 3, 1, udp(OUTSIDE, 5998, R, 33434))),
    out(tcp(A, 4020, R, 80, ["syn"], { seq: 7 }), "f"),
    back(error(S, OUTSIDE, 3, 1, tcp(OUTSIDE, "$f", R, 80, ["syn"], { seq: 7 }))),
  ],
  "ICMP errors from inside": [
    out(udp(A, 5040, R, 53), "i"),
    back(udp(R, 53, OUTSIDE, "$i")),
    out(error(A, R, 3, 3, udp(R, 53, A, 5040))),
  ],
};

/** What happened to a packet: dropped, or where it left and what of it a NAT may not change besides what it must. */
type Verdict = { verdict: "drop" } | { verdict: Side; header: string; above: string; port: number };

/** TTL and the header's checksum are left out: the kernel has forwarded its packets, too. */
function verdictOf(side: Side, bytes: Uint8Array): Verdict {
  const header = (bytes[0] & 15) * 4;
  const hex = (from: number, to?: number) => Buffer.from(bytes.subarray(from, to)).toString("hex");
  const at = bytes[9] === 1 ? header + 4 : header;
  return {
    verdict: side,
    header: `${hex(0, 4)} ${hex(6, 8)} ${hex(9, 10)} ${hex(12, header)}`,
    above: hex(header),
    port: bytes[at] * 256 + bytes[at + 1],
  };
}

const sound = (bytes: Uint8Array) => {
  let sum = 0;
  for (let i = 0; i < (bytes[0] & 15) * 4; i += 2) sum += bytes[i] * 256 + bytes[i + 1];
  return sum % 0xffff === 0;
};

/** Runs a scenario through one implementation. */
async function run(
  steps: Step[],
  send: (side: Side, bytes: Uint8Array) => Promise<{ side: Side; bytes: Uint8Array }[]>,
): Promise<Verdict[]> {
  const ports = new Map<string, number>();
  const verdicts: Verdict[] = [];
  for (const { name, from, packet } of steps) {
    const left = await send(from, buildPacket(packet, ports).bytes);
    expect(left.length, "one packet in, one out at most").toBeLessThan(2);
    for (const { bytes } of left) expect(sound(bytes), "the IP header's checksum").toBe(true);
    const verdict: Verdict = left.length === 0 ? { verdict: "drop" } : verdictOf(left[0].side, left[0].bytes);
    if (name && verdict.verdict !== "drop") ports.set(name, verdict.port);
    verdicts.push(verdict);
  }
  return verdicts;
}

describe.skipIf(LACKS_NFT !== undefined)(`beside nft${LACKS_NFT ? ` (skipped: ${LACKS_NFT})` : ""}`, () => {
  describeKernel("the same packets through the kernel's NAT and through nat", () => {
    let nat: FilterModule;
    let kernel: KernelRouter;
    beforeAll(async () => {
      nat = await filterModule("nat");
      kernel = await KernelRouter.start("10.77.0.1/24", `${OUTSIDE}/24`, RULES);
    });
    afterAll(() => kernel?.stop());

    const throughKernel = (steps: Step[]) => run(steps, (side, bytes) => kernel.send(side, bytes));
    function throughNat(steps: Step[], params: object): Promise<Verdict[]> {
      const bench = new FilterBench(nat, { ...PARAMS, sessions: 100, mappings: 100, ...params });
      return run(steps, async (side, given) => {
        const { output, bytes } = bench.send(given);
        if (output === "drop") return [];
        if (output === "turn") return [{ side: "lan", bytes }];
        return [{ side: side === "lan" ? "wan" : "lan", bytes }];
      });
    }
    /** A port that was taken is replaced by whichever: then only that the rest is alike can be asked. */
    const whereNotChosen = (verdicts: Verdict[]) => verdicts.map(({ verdict }) => verdict);

    // The kernel tells remote endpoints apart in both (RFC 4787 calls that the least open).
    const STRICT = { mapping: "address-and-port-dependent", filtering: "address-and-port-dependent" };
    test.each(Object.keys(ALIKE))("%s: alike, to the byte", async (name) => {
      const steps = ALIKE[name];
      const [theirs, ours] = [await throughKernel(steps), await throughNat(steps, STRICT)];
      expect(whereNotChosen(ours)).toEqual(whereNotChosen(theirs));
      if (name !== "two hosts with the same port") expect(ours).toEqual(theirs);
      // Else nothing would have been compared.
      expect(theirs.some(({ verdict }) => verdict !== "drop")).toBe(true);
    });

    test("an inside endpoint whose port was not free keeps what it got towards others (REQ-1), in both", async () => {
      const steps = [
        out(udp(A, 6030, R, 53)),
        out(udp(B, 6030, R, 53), "towards-r"),
        out(udp(B, 6030, S, 53), "towards-s"),
      ];
      const port = (verdict: Verdict) => (verdict.verdict === "drop" ? 0 : verdict.port);
      for (const verdicts of [await throughKernel(steps), await throughNat(steps, {})]) {
        const [first, second, third] = verdicts.map(port);
        expect(first).toBe(6030);
        expect(second).not.toBe(6030);
        expect(third).toBe(second);
      }
    });

    describe("differences, each with its reason", () => {
      const differ = async (steps: Step[], params: object = {}) => ({
        kernel: whereNotChosen(await throughKernel(steps)),
        nat: whereNotChosen(await throughNat(steps, params)),
      });

      test("another port of an address that was sent to: nat lets it in by default, for RFC 4787 REQ-8 asks no more", async () => {
        const steps = [out(udp(A, 6000, R, 53), "p"), back(udp(R, 54, OUTSIDE, "$p"))];
        expect(await differ(steps)).toEqual({ kernel: ["wan", "drop"], nat: ["wan", "lan"] });
      });
      test("anybody, with endpoint-independent filtering, which the kernel has not", async () => {
        const steps = [out(udp(A, 6010, R, 53), "p"), back(udp(S, 54, OUTSIDE, "$p"))];
        const both = await differ(steps, { filtering: "endpoint-independent" });
        expect(both).toEqual({ kernel: ["wan", "drop"], nat: ["wan", "lan"] });
      });
      test("hairpinning (REQ-9): the kernel has it by further rules only", async () => {
        const steps = [
          out(udp(A, 6020, R, 53)),
          out(udp(B, 6021, OUTSIDE, 6020)),
          out(udp(A, 6020, OUTSIDE, 6021)),
        ];
        const params = { filtering: "endpoint-independent" };
        const both = await differ(steps, params);
        expect(both).toEqual({ kernel: ["wan", "drop", "drop"], nat: ["wan", "lan", "lan"] });
      });
      test("protocols without ports: the kernel gives the first host that has it the whole protocol, nat refuses", async () => {
        const gre = { ipv4: { from: A, to: R, protocol: 47 }, payload: { hex: "0000080045000000" } };
        expect(await differ([out(gre)])).toEqual({ kernel: ["wan"], nat: ["drop"] });
      });
      test("an ICMP error with a wrong checksum: nat drops it (RFC 5508 REQ-3a), the kernel too", async () => {
        const wrong = error(S, OUTSIDE, 11, 0, udp(OUTSIDE, "$w", R, 53));
        const steps = [
          out(udp(A, 6040, R, 53), "w"),
          back({ ...wrong, icmp: { ...wrong.icmp, checksum: "wrong" } }),
        ];
        expect(await differ(steps)).toEqual({ kernel: ["wan", "drop"], nat: ["wan", "drop"] });
      });
      test("fragments: the kernel puts datagrams together before it looks; nat sends each on its way", async () => {
        const ipv4 = { from: A, to: R, id: 99 };
        const first = {
          ipv4: { ...ipv4, flags: ["mf"] },
          udp: { "from-port": 6050, "to-port": 53, length: 40, checksum: "none" },
          payload: { bytes: 16 },
        };
        expect(await differ([out(first)])).toEqual({ kernel: ["drop"], nat: ["wan"] });
      });
    });
  });
});
