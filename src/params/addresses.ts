/**
 * Addresses as text and as bytes. ipaddr.js knows the formats; what it takes beyond them (octal and hexadecimal parts,
 * missing parts, zones) is refused here, because inet_pton(3) refuses it too and a firewall rule must mean one thing.
 */
import ipaddr from "ipaddr.js";
import { type Reading, refuse } from "./refusal.ts";

export type Family = 4 | 6;
export interface Address {
  family: Family;
  /** 4 or 16 bytes, network order. */
  bytes: number[];
}

const WANTS = {
  4: "an IPv4 address (192.0.2.1)",
  6: "an IPv6 address (2001:db8::1)",
  any: "an address (192.0.2.1, 2001:db8::1)",
};

/** undefined: not an address. */
export function parseAddress(text: string): Address | undefined {
  if (/^(?:(?:0|[1-9]\d{0,2})(?:\.(?!$)|$)){4}$/.test(text)) {
    const bytes = text.split(".").map(Number);
    return bytes.every((byte) => byte <= 255) ? { family: 4, bytes } : undefined;
  }
  if (!/^[0-9A-Fa-f:.]+$/.test(text)) return undefined;
  // ipaddr.js 2.5 reads ::1.2.3.4 as ::ffff:1.2.3.4, so an embedded IPv4 address is rewritten as two groups first.
  const embedded = text.match(/^(.*:)([^:]*\.[^:]*)$/);
  let hexadecimal = text;
  if (embedded) {
    const v4 = parseAddress(embedded[2]);
    if (v4?.family !== 4) return undefined;
    const [a, b, c, d] = v4.bytes;
    hexadecimal = `${embedded[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  if (!ipaddr.IPv6.isValid(hexadecimal)) return undefined;
  return { family: 6, bytes: ipaddr.IPv6.parse(hexadecimal).toByteArray() };
}

/** Canonical text: RFC 5952 for IPv6. */
export function formatAddress(address: Address): string {
  return address.family === 4 ? address.bytes.join(".") : new ipaddr.IPv6(address.bytes).toRFC5952String();
}

/** An IPv4 address as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2); an IPv6 address as it is. */
export function mappedBytes(address: Address): number[] {
  return address.family === 6 ? address.bytes : [...new Array(10).fill(0), 0xff, 0xff, ...address.bytes];
}

/** "address/length", as prefixes and interface addresses are kept. The text must be canonical already. */
export function splitPrefix(text: string): { address: Address; length: number } {
  const slash = text.indexOf("/");
  const address = parseAddress(text.slice(0, slash));
  if (slash < 0 || !address) throw new RangeError(`not a checked prefix: ${text}`);
  return { address, length: Number(text.slice(slash + 1)) };
}

export function readAddress(value: unknown, family: Family | "any"): Reading<string> {
  const wants = WANTS[family];
  if (typeof value !== "string") return refuse("wrong-type", wants, value);
  const address = parseAddress(value);
  if (!address || (family !== "any" && address.family !== family)) return refuse("bad-value", wants, value);
  return { value: formatAddress(address) };
}

/** A network: the bits behind the length must be zero. A bare address is a host prefix. */
export function readPrefix(value: unknown): Reading<string> {
  const wants = "a prefix (10.0.0.0/8, 2001:db8::/32)";
  const parts = addressAndLength(value, wants);
  if ("refusal" in parts) return parts;
  const { address, length } = parts.value;
  const masked: Address = { family: address.family, bytes: mask(address.bytes, length) };
  const network = `${formatAddress(masked)}/${length}`;
  if (masked.bytes.some((byte, i) => byte !== address.bytes[i])) {
    return refuse(
      "bad-value",
      `a prefix whose last ${address.bytes.length * 8 - length} bits are zero`,
      value,
      network,
    );
  }
  return { value: network };
}

/** An address on a link and the length of the link's prefix: 10.77.0.1/24. Without a length, the host prefix. */
export function readInterfaceAddress(value: unknown): Reading<string> {
  const parts = addressAndLength(value, "an address with its prefix length (10.77.0.1/24, fd00::1/64)");
  if ("refusal" in parts) return parts;
  return { value: `${formatAddress(parts.value.address)}/${parts.value.length}` };
}

/** IEEE 802 address: 02:00:5e:10:00:01. */
export function readMac(value: unknown): Reading<string> {
  const wants = "a MAC address (02:00:5e:10:00:01)";
  if (typeof value !== "string") return refuse("wrong-type", wants, value);
  const canonical = value.toLowerCase();
  if (/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(canonical)) return { value: canonical };
  const digits = /^[0-9a-f]{2}([-.]?[0-9a-f]{2}){5}$/.test(canonical)
    ? canonical.replace(/[-.]/g, "")
    : undefined;
  return refuse("bad-value", wants, value, digits?.match(/../g)?.join(":"));
}

function addressAndLength(value: unknown, wants: string): Reading<{ address: Address; length: number }> {
  if (typeof value !== "string") return refuse("wrong-type", wants, value);
  const [text, suffix, ...more] = value.split("/");
  const address = parseAddress(text);
  if (!address || more.length > 0) return refuse("bad-value", wants, value);
  const bits = address.bytes.length * 8;
  if (suffix === undefined) return { value: { address, length: bits } };
  if (!/^(0|[1-9]\d*)$/.test(suffix)) return refuse("bad-value", wants, value);
  const length = Number(suffix);
  if (length > bits) return refuse("out-of-range", `a prefix length of 0 to ${bits}`, value);
  return { value: { address, length } };
}

function mask(bytes: number[], length: number): number[] {
  return bytes.map((byte, i) => {
    const kept = Math.min(8, Math.max(0, length - 8 * i));
    return byte & (0xff << (8 - kept));
  });
}
