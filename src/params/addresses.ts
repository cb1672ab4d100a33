/**
 * Addresses as text and as bytes: what inet_pton(3) takes and nothing else (no octal or hexadecimal parts, missing parts,
 * zones), because a firewall rule must mean one thing.
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
  const bytes = text.includes(":") ? bytesOf6(text) : bytesOf4(text, 0);
  return bytes && { family: bytes.length === 4 ? 4 : 6, bytes };
}

/** Four decimal numbers up to 255 from an offset on, without leading zeros. */
function bytesOf4(text: string, start: number): number[] | undefined {
  const bytes: number[] = [];
  let byte = -1;
  for (let i = start; i <= text.length; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit >= 0 && digit <= 9) {
      if (byte === 0) return undefined;
      byte = byte < 0 ? digit : 10 * byte + digit;
      if (byte > 255) return undefined;
    } else {
      if (byte < 0 || (i < text.length && digit !== DOT) || bytes.length === 4) return undefined;
      bytes.push(byte);
      byte = -1;
    }
  }
  return bytes.length === 4 ? bytes : undefined;
}
const DOT = 0x2e - 0x30;

/** RFC 4291, 2.2: eight groups, "::" once for one zero group or more, an IPv4 address for the last two. */
function bytesOf6(text: string): number[] | undefined {
  const groups: number[] = [];
  let gap = -1;
  let at = 0;
  if (text.startsWith("::")) {
    gap = 0;
    at = 2;
  }
  while (at < text.length) {
    if (groups.length === 8) return undefined;
    let end = at;
    let group = 0;
    for (; end < text.length && end - at < 5; end++) {
      const digit = hexadecimal(text.charCodeAt(end));
      if (digit < 0) break;
      group = 16 * group + digit;
    }
    if (text[end] === ".") {
      const v4 = bytesOf4(text, at);
      if (!v4 || groups.length > 6) return undefined;
      groups.push((v4[0] << 8) | v4[1], (v4[2] << 8) | v4[3]);
      break;
    }
    if (end === at || end - at > 4) return undefined;
    groups.push(group);
    if (end === text.length) break;
    if (text[end] !== ":") return undefined;
    at = end + 1;
    if (text[at] === ":") {
      if (gap >= 0) return undefined;
      gap = groups.length;
      at++;
    } else if (at === text.length) return undefined;
  }
  if (gap < 0 ? groups.length !== 8 : groups.length > 7) return undefined;
  if (gap >= 0) groups.splice(gap, 0, ...ZEROS.slice(groups.length));
  const bytes: number[] = [];
  for (const group of groups) bytes.push(group >> 8, group & 255);
  return bytes;
}
const ZEROS = [0, 0, 0, 0, 0, 0, 0, 0];

function hexadecimal(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const letter = code | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** Canonical text: RFC 5952 for IPv6. */
export function formatAddress({ family, bytes }: Address): string {
  if (family === 4) return bytes.join(".");
  const mapped = bytes.findIndex((byte) => byte !== 0) === 10 && bytes[10] === 255 && bytes[11] === 255;
  if (mapped) return new ipaddr.IPv6(bytes).toRFC5952String();
  // The longest run of two zero groups or more becomes "::", the first one of several.
  let [start, length] = [-1, 1];
  for (let i = 0, run = 0; i < 8; i++) {
    run = bytes[2 * i] === 0 && bytes[2 * i + 1] === 0 ? run + 1 : 0;
    if (run > length) [start, length] = [i - run + 1, run];
  }
  let text = "";
  for (let i = 0; i < 8; i++) {
    if (i === start) {
      text += "::";
      i += length - 1;
      continue;
    }
    if (i > 0 && !text.endsWith(":")) text += ":";
    text += ((bytes[2 * i] << 8) | bytes[2 * i + 1]).toString(16);
  }
  return text;
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

const PREFIX_WANTS = {
  4: "an IPv4 prefix (10.0.0.0/8)",
  6: "an IPv6 prefix (2001:db8::/32)",
  any: "a prefix (10.0.0.0/8, 2001:db8::/32)",
};

/**
 * A network: the bits behind the length must be zero. A bare address is a host prefix.
 * @param bounds family, and of the length
 */
export function readPrefix(
  value: unknown,
  { family, min = 0, max = 128 }: { family?: Family; min?: number; max?: number } = {},
): Reading<string> {
  const wants = PREFIX_WANTS[family ?? "any"];
  const parts = addressAndLength(value, wants);
  if ("refusal" in parts) return parts;
  const { address, length } = parts.value;
  if (family !== undefined && address.family !== family) return refuse("bad-value", wants, value);
  if (length < min || length > max) {
    const lengths = min === 0 ? `${max} bits at most` : `${min} to ${max} bits`;
    return refuse("out-of-range", `${wants} of ${lengths}`, value);
  }
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
