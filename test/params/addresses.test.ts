// Addresses are what inet_pton(3) takes, and are written as RFC 5952 says.
import { isIP } from "node:net";
import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { expect, it } from "vitest";
import { formatAddress, parseAddress } from "../../src/params/addresses.ts";

const near = fc
  .array(
    fc.constantFrom("0", "1", "10", "255", "256", "01", "ffff", "F", "abcd1", ".", ".", ":", ":", "::", "g"),
    {
      maxLength: 18,
    },
  )
  .map((parts) => parts.join(""));

it("takes what the system takes, and nothing else", () => {
  fc.assert(
    fc.property(fc.oneof(near, fc.ipV4(), fc.ipV6()), (text) => {
      expect(parseAddress(text)?.family ?? 0, text).toBe(isIP(text));
    }),
    { numRuns: 20_000 },
  );
});

it("writes IPv6 addresses as RFC 5952 says, and reads them back", () => {
  const group = fc.constantFrom(0, 0, 0, 1, 0xab, 0xffff);
  fc.assert(
    fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), (groups) => {
      const bytes = groups.flatMap((word) => [word >> 8, word & 255]);
      const text = formatAddress({ family: 6, bytes });
      expect(text).toBe(new ipaddr.IPv6(bytes).toRFC5952String());
      expect(parseAddress(text)).toEqual({ family: 6, bytes });
    }),
    { numRuns: 5000 },
  );
});
