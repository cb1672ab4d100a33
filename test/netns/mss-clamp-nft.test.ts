// mss-clamp and nft's "tcp option maxseg size set rt mtu": the same segments through the kernel's forwarding and through the
// filter, byte by byte from the TCP header on. Where the two differ is listed, each with the reason.
//
//   lan 10.77.0.0/24, 2001:db8:77::/64, MTU 1500 ---- [ kernel: nft | mss-clamp ] ---- wan, MTU 1400
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { FilterBench, type FilterModule, filterModule } from "../filters/bench.ts";
import { KernelRouter, LACKS_NFT, type Side } from "../support/kernel-router.ts";
import { describeKernel } from "../support/namespace.ts";

const RULES = `
table inet test {
  chain forward { type filter hook forward priority 0; tcp flags syn tcp option maxseg size set rt mtu; }
}`;
const MTU = 1400;
const IN4 = "10.77.0.5";
const OUT4 = "192.0.2.9";
const IN6 = "2001:db8:77::5";
const OUT6 = "2001:db8:9::9";

interface Segment {
  options?: string;
  flags?: string[];
  payload?: string;
  /** From wan to lan. */
  back?: boolean;
}
const SYN = ["syn"];
/** What both do alike. */
const ALIKE: Record<string, Segment> = {
  "larger than the path carries": { options: "020405b4" },
  "of the answer": { options: "020405b4", flags: ["syn", "ack"], back: true },
  "the largest there is": { options: "0204ffff" },
  "one more than fits, with IPv4": { options: "02040551" },
  "just what fits, with IPv4": { options: "02040550" },
  "one more than fits, with IPv6": { options: "0204053d" },
  "just what fits, with IPv6": { options: "0204053c" },
  "a small one": { options: "02040218" },
  "none at all": {},
  "with what Linux sends": { options: "020405b40402080a000000010000000001030307" },
  "behind other options": { options: "0402080a0000000100000000020405b401030307" },
  "of another length": { options: "0203050101010101" },
  "not in a SYN": { options: "020405b4", flags: ["ack"] },
};

describe.skipIf(LACKS_NFT !== undefined)(`beside nft${LACKS_NFT ? ` (skipped: ${LACKS_NFT})` : ""}`, () => {
  describeKernel("the same segments through nft's rt mtu and through mss-clamp", () => {
    let module: FilterModule;
    let kernel: KernelRouter;
    beforeAll(async () => {
      module = await filterModule("mss-clamp");
      kernel = await KernelRouter.start("10.77.0.1/24", "198.51.100.2/24", RULES);
      kernel.forwardIpv6("2001:db8:77::1/64", "2001:db8:9::1/64");
      kernel.ip(`link set wan0 mtu ${MTU}`);
    });
    afterAll(() => kernel?.stop());

    function build(
      { options = "", flags = SYN, payload, back = false }: Segment,
      version: 4 | 6,
    ): Uint8Array {
      const [inside, outside] = version === 4 ? [IN4, OUT4] : [IN6, OUT6];
      const ends = back ? { from: outside, to: inside } : { from: inside, to: outside };
      const tcp = { "from-port": 5000, "to-port": 80, flags, options };
      return buildPacket({ [`ipv${version}`]: ends, tcp, ...(payload ? { payload } : {}) }).bytes;
    }
    /** The kernel has forwarded its packets: TTL and the IP header's checksum are others'. */
    const above = (bytes: Uint8Array, version: 4 | 6) =>
      Buffer.from(bytes.subarray(version === 4 ? 20 : 40)).toString("hex");

    async function both(segment: Segment, version: 4 | 6): Promise<{ nft: string; filter: string }> {
      const bytes = build(segment, version);
      const side: Side = segment.back ? "wan" : "lan";
      const left = await kernel.send(side, bytes);
      expect(left).toHaveLength(1);
      const filter = new FilterBench(module, { mtu: MTU }).send(bytes);
      return { nft: above(left[0].bytes, version), filter: above(filter.bytes, version) };
    }

    test.each(Object.keys(ALIKE))("%s: alike, to the byte", async (name) => {
      for (const version of [4, 6] as const) {
        const { nft, filter } = await both(ALIKE[name], version);
        expect(filter, `IPv${version}`).toBe(nft);
      }
    });

    test("nft has lowered what it was to lower: else nothing would have been compared", async () => {
      expect((await both(ALIKE["larger than the path carries"], 4)).nft).toContain("02040550");
      expect((await both(ALIKE["larger than the path carries"], 6)).nft).toContain("0204053c");
    });

    describe("differences, each with its reason", () => {
      const optionsOf = (hex: string) => hex.slice(40);
      test("of several options nft lowers the first; a receiver takes the last, so mss-clamp lowers each", async () => {
        const { nft, filter } = await both({ options: "020405b4020405b4" }, 4);
        expect(optionsOf(nft)).toBe("02040550020405b4");
        expect(optionsOf(filter)).toBe("0204055002040550");
      });
      test("at an odd offset nft may leave a wrong checksum (Linux 6 does); mss-clamp's is right", async () => {
        const segment = { options: "01020405b4010101", payload: "early" };
        for (const version of [4, 6] as const) {
          const size = version === 4 ? "0550" : "053c";
          const { nft, filter } = await both(segment, version);
          expect(optionsOf(filter)).toBe(optionsOf(nft));
          const right = build({ ...segment, options: `010204${size}010101` }, version);
          expect(filter).toBe(above(right, version));
        }
      });
      test("behind the end of options there is none (RFC 9293, 3.1); nft goes on", async () => {
        const { nft, filter } = await both({ options: "01010100020405b4" }, 4);
        expect(optionsOf(nft)).toBe("0101010002040550");
        expect(optionsOf(filter)).toBe("01010100020405b4");
      });
    });
  });
});
