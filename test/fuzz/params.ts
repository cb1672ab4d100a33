/** Parameters at random, as a pipeline file would say them, by what a filter's manifest says of them. */
import type { ParamSpec, ParamType } from "../../src/params/types.ts";
import type { Chance } from "./chance.ts";

/** Few addresses, which the packets have too, so that rules and translations meet some. */
export const IPV4 = [
  "10.77.0.5",
  "10.77.0.6",
  "198.51.100.2",
  "198.51.100.3",
  "192.0.2.9",
  "255.255.255.255",
];
export const IPV6 = [
  "2001:db8::5",
  "2001:db8::6",
  "fe80::1",
  "ff02::1",
  "64:ff9b::192.0.2.9",
  "64:ff9b::198.51.100.2",
];
/** Tables larger than this make a fresh memory slow, and no case more. */
const LARGEST = 3000;
const LONGEST_LIST = 4;
/** Of records, now and then: as many rules as make trees that are looked at in stages. */
const MANY_RECORDS = 80;

/** Each parameter that may be left out is, half of the time. */
export function randomParams(specs: ParamSpec[], chance: Chance): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const spec of specs) {
    const mayMiss = spec.default !== undefined || (spec.type.kind === "list" && (spec.min ?? 0) === 0);
    // A table's size by default may be large: it is always said.
    if (mayMiss && !(spec.type.kind === "u32" && Number(spec.default) > LARGEST) && chance.once(2)) continue;
    values[spec.name] = randomValue(spec.type, spec, chance);
  }
  return values;
}

function randomValue(
  type: ParamType,
  { min = 0, max, family }: Pick<ParamSpec, "min" | "max" | "family">,
  chance: Chance,
): unknown {
  const number = (largest: number) =>
    chance.between(min, Math.max(min, Math.min(max ?? largest, largest, LARGEST)));
  const port = () => chance.of([1, 53, 80, 443, 1024, 5000, 5001, 65_535, chance.between(1, 65_535)]);
  switch (type.kind) {
    case "enum":
      return chance.of(type.values);
    case "code":
      return chance.once(2) ? chance.of(Object.keys(type.codes)) : chance.between(min, max ?? 255);
    case "list": {
      const longest = type.of.kind === "record" && chance.once(6) ? MANY_RECORDS : LONGEST_LIST;
      const length = chance.between(min, Math.max(min, Math.min(max ?? longest, longest)));
      // A list's bounds are those of its length.
      return Array.from({ length }, () => randomValue(type.of, {}, chance));
    }
    case "record":
      return randomParams(type.fields, chance);
    case "bool":
      return chance.once(2);
    case "u8":
    case "i32":
      return number(255);
    case "u16":
      return chance.of([0x0800, 0x86dd, 0x0806, number(65_535)]);
    case "u32":
    case "u64":
      return number(LARGEST);
    case "f64":
      return number(100);
    case "duration":
      return `${Math.ceil(min / 1e9) + chance.below(5)}s`;
    case "size":
      return Math.max(min, chance.below(4096));
    case "rate":
      return chance.of(["0pps", "10pps", "1kpps", "1Mbit"]);
    case "port":
      return port();
    case "port-range": {
      const [first, last] = [port(), port()].sort((a, b) => a - b);
      return `${Math.max(first, min)}-${Math.max(last, min)}`;
    }
    case "ipv4":
      return chance.of(IPV4);
    case "ipv6":
      return chance.of(IPV6);
    case "ip":
      return chance.of([...IPV4, ...IPV6]);
    case "prefix":
      if (family !== undefined) return boundedPrefix(family, min, max, chance);
      return chance.once(3)
        ? `2001:db8::/${chance.of([32, 64, 128])}`
        : chance.of(["10.77.0.0/24", "10.77.0.4/31", "198.51.100.2", "192.0.2.0/24", "0.0.0.0/0"]);
    case "interface-address":
      return "10.77.0.1/24";
    case "mac":
      return "02:00:00:00:00:01";
    case "string":
      return chance.of(["", "a", "longer-than-that"]);
    case "domains":
      return chance.of(["ads.example", "0.0.0.0 x.test track.test", "sub.ads.example", "*.net"]);
    case "output":
      return chance.of(["next", "drop", "elsewhere"]);
    case "action":
      return chance.of(["accept", "drop", "elsewhere", `mark ${chance.below(9)}`]);
  }
}

/** Of a length that a manifest allows: zeros behind a few bits. */
function boundedPrefix(family: 4 | 6, min: number, max: number | undefined, chance: Chance): string {
  const least = Math.max(min, family === 4 ? 8 : 32);
  const most = max ?? (family === 4 ? 32 : 128);
  if (least > most) return family === 4 ? `0.0.0.0/${most}` : `::/${most}`;
  const lengths = [least, most, ...[40, 48, 56, 64].filter((length) => length >= least && length <= most)];
  return `${family === 4 ? "10.0.0.0" : "2001:db8::"}/${chance.of(lengths)}`;
}
