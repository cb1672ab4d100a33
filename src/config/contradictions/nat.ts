/** What of nat's parameters that are each right contradicts another: the filter itself could only trap on it. */
import { parseAddress, splitPrefix } from "../../params/addresses.ts";
import type { ParamValues, PortRange } from "../../params/types.ts";
import type { Contradiction } from "./index.ts";

interface Forward {
  proto?: number[];
  outside?: string[];
  port: PortRange;
  to: string[];
  "twice-nat"?: boolean;
}

export function natContradictions(params: ParamValues): Contradiction[] {
  const inside = params["inside"] as string[];
  const outside = params["outside"] as string[];
  const forwards = (params["forward"] ?? []) as unknown as Forward[];
  const twice = (params["twice-nat"] ?? []) as string[];
  const remotes = (params["remote"] ?? []) as unknown as { inside: string }[];
  const ofTwice = twice.flatMap((address, i) =>
    outside.includes(address)
      ? [{ path: ["twice-nat", i], message: `twice-nat: ${address} is one of outside` }]
      : [],
  );
  const ofRemotes = remotes.flatMap(({ inside: name }, i) => {
    const where = outside.includes(name) ? "outside" : twice.includes(name) ? "twice-nat" : undefined;
    const message = `remote[${i}]: ${name} is one of ${where}`;
    return where === undefined ? [] : [{ path: ["remote", i, "inside"], message }];
  });
  const ofForwards = forwards.flatMap((forward, i) => {
    const found: Contradiction[] = [];
    const [own = outside[0]] = forward.outside ?? [];
    if (!outside.includes(own)) {
      const message = `forward[${i}]: ${own} is none of outside (${outside.join(", ")})`;
      found.push({ path: ["forward", i, "outside"], message });
    }
    forward.to.forEach((to, j) => {
      if (inside.some((prefix) => contains(prefix, to))) return;
      const message = `forward[${i}]: ${to} is not within inside (${inside.join(", ")})`;
      found.push({ path: ["forward", i, "to", j], message });
    });
    // The first rule that has a port gets it; part of a range may be an exception, all of it is a slip.
    const first = forwards.slice(0, i).findIndex((other) => covers(other, forward, outside[0]));
    if (first >= 0) {
      const message = `forward[${i}]: forward[${first}] has its ports already`;
      found.push({ path: ["forward", i, "port"], message });
    }
    if (forward["twice-nat"] === true && twice.length === 0) {
      const message = `forward[${i}]: twice-nat needs addresses, in the filter's twice-nat`;
      found.push({ path: ["forward", i, "twice-nat"], message });
    }
    return found;
  });
  return [...ofForwards, ...ofTwice, ...ofRemotes];
}

function covers(one: Forward, other: Forward, standard: string): boolean {
  const [a = standard] = one.outside ?? [];
  const [b = standard] = other.outside ?? [];
  const protocols = one.proto ?? [];
  return (
    a === b &&
    (other.proto ?? []).every((protocol) => protocols.includes(protocol)) &&
    one.port.first <= other.port.first &&
    one.port.last >= other.port.last
  );
}

function contains(prefix: string, address: string): boolean {
  const { address: network, length } = splitPrefix(prefix);
  const { family, bytes } = parseAddress(address)!;
  if (network.family !== family) return false;
  return bytes.every((byte, i) => {
    const bits = Math.min(8, Math.max(0, length - 8 * i));
    const mask = (0xff << (8 - bits)) & 0xff;
    return (byte & mask) === (network.bytes[i] & mask);
  });
}
