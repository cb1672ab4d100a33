/** Values of each type as a pipeline file says them. */
import fc from "fast-check";
import type { ParamType } from "../../src/params/types.ts";

const groups = fc.array(fc.oneof(fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 });
const v4 = fc
  .oneof(fc.constant([0, 0, 0, 0]), fc.array(fc.nat(255), { minLength: 4, maxLength: 4 }))
  .map((bytes) => bytes.join("."));
const v6 = groups.map((words) => words.map((word) => word.toString(16)).join(":"));

export function anyScalar(type: ParamType): fc.Arbitrary<unknown> {
  switch (type.kind) {
    case "bool":
      return fc.boolean();
    case "u8":
      return fc.nat(255);
    case "u16":
      return fc.nat(65_535);
    case "port":
      return fc.integer({ min: 1, max: 65_535 });
    case "u32":
      return fc.nat(2 ** 32 - 1);
    case "i32":
      return fc.integer();
    case "u64":
      return fc.nat(Number.MAX_SAFE_INTEGER);
    case "duration":
      return fc.nat(2 ** 50).map((ns) => `${ns}ns`);
    case "size":
      return fc.nat(2 ** 50);
    case "enum":
      return fc.constantFrom(...type.values);
    case "code":
      return fc.oneof(fc.constantFrom(...Object.keys(type.codes)), fc.nat(255));
    case "ipv4":
      return v4;
    case "ipv6":
      return v6;
    case "ip":
      return fc.oneof(v4, v6);
    case "prefix":
      return fc.oneof(
        fc.nat(32).map((bits) => `${bits === 32 ? "10.1.2.3" : "0.0.0.0"}/${bits}`),
        fc.nat(128).map((bits) => `${bits === 128 ? "2001:db8::1" : "::"}/${bits}`),
      );
    case "mac":
      return fc
        .array(fc.nat(255), { minLength: 6, maxLength: 6 })
        .map((bytes) => bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(":"));
    default:
      throw new RangeError(`no values of ${type.kind}`);
  }
}
