// icmp-error with packets that scapy made, judged by scapy; and with noise.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { LACKS_SCAPY, scapyMake, scapySees } from "../support/scapy.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

const UNLIMITED = { rate: "1Gpps", burst: 1_000_000 };

let icmpError: FilterModule;
beforeAll(async () => {
  icmpError = await filterModule("icmp-error");
});

describe.skipIf(LACKS_SCAPY !== undefined)(
  `scapy judges${LACKS_SCAPY ? ` (skipped: ${LACKS_SCAPY})` : ""}`,
  () => {
    test("errors parse, go to the sender, quote what it sent as far as it fits, and have right checksums", () => {
      const bench = new FilterBench(icmpError, {
        ...UNLIMITED,
        from: ["203.0.113.1", "2001:db8:f::1"],
        code: "time-exceeded",
      });
      const made = scapyMake("any");
      const errors = made.map((bytes) => {
        const sent = bench.send(bytes);
        expect(sent.output).toBe("next");
        return sent.bytes;
      });
      const senders = scapySees(made);
      scapySees(errors).forEach((seen, i) => {
        const isIpv4 = made[i][0] >> 4 === 4;
        expect(seen.wrong).toEqual([]);
        expect(seen.from).toBe(isIpv4 ? "203.0.113.1" : "2001:db8:f::1");
        expect(seen.to).toBe(senders[i].from);
        expect(seen.icmp).toEqual(isIpv4 ? [11, 0] : [3, 0]);
        const fits = isIpv4 ? 576 - 28 : 1280 - 48;
        expect(seen.quote).toBe(Buffer.from(made[i].subarray(0, fits)).toString("hex"));
        expect(errors[i].length).toBeLessThanOrEqual(isIpv4 ? 576 : 1280);
      });
      expect(errors.length).toBeGreaterThan(190);
    });
  },
);

const NOTATIONS = [
  { ipv4: { from: "10.0.0.1", to: "192.0.2.1", options: "94040000" }, udp: {}, payload: { bytes: 900 } },
  { ipv4: { from: "10.0.0.1", to: "192.0.2.1" }, icmp: {} },
  { ipv6: { from: "2001:db8::1", to: "2001:db8:1::1" }, tcp: {}, payload: { bytes: 1300 } },
  { ipv6: { from: "2001:db8::1", to: "2001:db8:1::1", extensions: [{ destination: {} }] }, icmpv6: {} },
];

describe.each([3, 2] as const)("on layer %d", (layer) => {
  const seeds = NOTATIONS.flatMap((notation) =>
    layer === 3
      ? [buildPacket(notation).bytes]
      : [{ ethernet: {} }, { ethernet: {}, vlan: [{ id: 1 }, { id: 2 }], pad: 20 }].map(
          (frame) => buildPacket({ ...frame, ...notation }).bytes,
        ),
  );

  test("the descriptor is what dissect says of the error's bytes, and a whole packet", () => {
    const bench = new FilterBench(icmpError, UNLIMITED, { layer });
    for (const bytes of seeds) {
      expect(bench.send(bytes).output).toBe("next");
      const { left, fresh } = bench.descriptorFields();
      expect(left).toEqual(fresh);
    }
  });

  test("noise and mutated packets: no trap, nothing outside the slot written, no error about an error", () => {
    const bench = new FilterBench(icmpError, UNLIMITED, { layer });
    const mutated = fc
      .record({
        seed: fc.constantFrom(...seeds),
        changes: fc.array(fc.tuple(fc.nat(80), fc.nat(255)), { maxLength: 4 }),
        cut: fc.oneof(fc.constant(0), fc.nat(80)),
      })
      .map(({ seed, changes, cut }) => {
        const bytes = Uint8Array.from(seed);
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        return bytes.subarray(0, Math.max(0, bytes.length - cut));
      });
    let errors = 0;
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 100 }), mutated), (bytes) => {
        const sent = bench.send(bytes);
        if (sent.output !== "next") return;
        errors++;
        const { left, fresh } = bench.descriptorFields();
        expect(left).toEqual(fresh);
        // Two filters in a row must not make an error about an error.
        expect(bench.send(sent.bytes).output).toBe("drop");
      }),
      { numRuns: 2000 },
    );
    expect(errors).toBeGreaterThan(300);
  });
});
