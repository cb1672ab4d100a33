import type { ParamSpec, ParamType, ParamValue, ParamValues } from "../../src/params/types.ts";

/**
 * Reads a parameter block back, the slow and obvious way: sizes and alignments are written out here again, from the
 * description of the layout, so that encoder and decoder cannot be wrong together.
 */
export function decodeParams(
  specs: ParamSpec[],
  block: Uint8Array,
  outputs: string[],
  base: number,
): ParamValues {
  const byte = (at: number) => {
    if (at - base < 0 || at - base >= block.length)
      throw new RangeError(`read at ${at}, outside of the block`);
    return block[at - base];
  };
  const integer = (at: number, size: number) => {
    if (at % size !== 0) throw new RangeError(`${size} bytes at ${at} are not aligned`);
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + byte(at + i);
    return value;
  };
  const run = (at: number, count: number) => Array.from({ length: count }, (_, i) => byte(at + i));
  const v4 = (bytes: number[]) => bytes.join(".");
  const v6 = (bytes: number[]) => {
    const words = Array.from({ length: 8 }, (_, i) => (bytes[2 * i] * 256 + bytes[2 * i + 1]).toString(16));
    const runs = words.join(":").match(/(?<![0-9a-f])0(:0)+(?![0-9a-f])/g) ?? [];
    const longest = runs.sort((a, b) => b.length - a.length)[0];
    if (longest === undefined) return words.join(":");
    const [before, after] = splitOnce(`:${words.join(":")}:`, `:${longest}:`);
    return `${before.replace(/^:/, "")}::${after.replace(/:$/, "")}`;
  };
  const mapped = (at: number, family: number) => (family === 4 ? v4(run(at + 12, 4)) : v6(run(at, 16)));

  const align = (at: number, to: number) => {
    while (at % to !== 0) at++;
    return at;
  };
  const alignment = (type: ParamType): number => {
    if (type.kind === "record") return Math.max(...type.fields.map((field) => alignment(field.type)));
    if (["u64", "duration", "size", "f64", "rate"].includes(type.kind)) return 8;
    if (["bool", "u8", "code", "enum", "output", "mac"].includes(type.kind)) return 1;
    return ["u16", "port", "port-range"].includes(type.kind) ? 2 : 4;
  };
  const size = (type: ParamType): number => {
    if (type.kind === "record") {
      let at = 0;
      for (const field of type.fields) at = align(at, alignment(field.type)) + size(field.type);
      return align(at, alignment(type));
    }
    const sizes: Record<string, number> = {
      ipv6: 16,
      rate: 16,
      ip: 20,
      prefix: 20,
      "interface-address": 20,
      mac: 6,
    };
    const plain: Record<string, number> = { "port-range": 4, string: 8, domains: 8, list: 8 };
    return sizes[type.kind] ?? plain[type.kind] ?? alignment(type);
  };
  const fields = (specsOf: ParamSpec[], at: number): ParamValues => {
    const values: ParamValues = {};
    for (const spec of specsOf) {
      at = align(at, alignment(spec.type));
      // No prefix has family 0: that one was not given.
      const absent = spec.default === null && spec.type.kind === "prefix" && byte(at + 17) === 0;
      if (!absent) values[spec.name] = decode(spec.type, at);
      at += size(spec.type);
    }
    return values;
  };
  const decode = (type: ParamType, at: number): ParamValue => {
    switch (type.kind) {
      case "bool":
        return integer(at, 1) === 1;
      case "enum":
        return type.values[integer(at, 1)];
      case "output":
        return outputs[integer(at, 1)];
      case "i32":
        return integer(at, 4) | 0;
      case "f64":
        return Buffer.from(run(at, 8)).readDoubleLE();
      case "rate":
        return { value: integer(at, 8), unit: (["bit", "packet"] as const)[integer(at + 8, 1)] };
      case "port-range":
        return { first: integer(at, 2), last: integer(at + 2, 2) };
      case "ipv4":
        return v4(run(at, 4));
      case "ipv6":
        return v6(run(at, 16));
      case "ip":
        return mapped(at, integer(at + 16, 1));
      case "prefix":
      case "interface-address": {
        const family = integer(at + 17, 1);
        return `${mapped(at, family)}/${integer(at + 16, 1) - (family === 4 ? 96 : 0)}`;
      }
      case "mac":
        return Buffer.from(run(at, 6)).toString("hex").match(/../g)!.join(":");
      case "string":
      case "domains":
        return Buffer.from(run(integer(at, 4), integer(at + 4, 4))).toString();
      case "list": {
        const first = integer(at, 4);
        const count = integer(at + 4, 4);
        return Array.from({ length: count }, (_, i) => decode(type.of, first + i * size(type.of)));
      }
      case "record":
        return fields(type.fields, at);
      default:
        return integer(at, size(type));
    }
  };
  return fields(specs, base);
}

function splitOnce(text: string, by: string): [string, string] {
  const at = text.indexOf(by);
  return [text.slice(0, at), text.slice(at + by.length)];
}
