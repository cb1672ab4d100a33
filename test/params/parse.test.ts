import { describe, expect, it } from "vitest";
import { namedOutputs, parseParam, parseParams } from "../../src/params/parse.ts";
import type { ParamSpec, ParamType, ScalarType } from "../../src/params/types.ts";

const typed = (type: ParamType | ScalarType, more: Partial<ParamSpec> = {}): ParamSpec => ({
  name: "x",
  type: typeof type === "string" ? { kind: type } : type,
  doc: "",
  ...more,
});
const read = (spec: ParamSpec, value: unknown) => {
  const parsed = parseParam(spec, value);
  if ("value" in parsed) return parsed.value;
  throw new Error(`refused: ${parsed.problems.map((p) => p.message).join("; ")}`);
};
const refusal = (spec: ParamSpec, value: unknown) => {
  const parsed = parseParam(spec, value);
  if (!("problems" in parsed)) throw new Error(`accepted as ${JSON.stringify(parsed.value)}`);
  return parsed.problems.map(({ message, suggestion }) =>
    suggestion ? `${message} -> ${suggestion}` : message,
  );
};

describe("what is accepted", () => {
  it("a percentage for a share, of 100 or of 1, and for no other number", () => {
    expect(read(typed("f64", { min: 0, max: 100 }), "5%")).toBe(5);
    expect(read(typed("f64", { min: 0, max: 100 }), "0.07 %")).toBe(0.07);
    expect(read(typed("f64", { min: 0, max: 1 }), "5%")).toBe(0.05);
    expect(refusal(typed("f64", { min: 0, max: 10 }), "5%")).toEqual(['x wants a number, has "5%" -> 5']);
  });

  it.each<[ScalarType, unknown, unknown]>([
    ["bool", true, true],
    ["u8", 255, 255],
    ["u8", -0, 0],
    ["u64", Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
    ["i32", -2147483648, -2147483648],
    ["f64", 0.1, 0.1],
    ["size", 1500, 1500],
    ["size", "1500", 1500],
    ["size", "64KiB", 65536],
    ["size", "1MB", 1_000_000],
    ["size", "1.5GiB", 1.5 * 2 ** 30],
    ["size", "0.1MB", 100_000],
    ["size", "0.3GB", 300_000_000],
    ["duration", 0, 0],
    ["duration", "500us", 500_000],
    ["duration", "500µs", 500_000],
    ["duration", "10s", 10e9],
    ["duration", "2h4m", 7440e9],
    ["duration", "1.5s", 1.5e9],
    ["duration", "1d2h3m4s5ms6us7ns", 93_784_005_006_007],
    ["rate", "10Mbit", { value: 10e6, unit: "bit" }],
    ["rate", "100kpps", { value: 100e3, unit: "packet" }],
    ["rate", "2.5Gbit", { value: 2.5e9, unit: "bit" }],
    ["port", 80, 80],
    ["port", "80", 80],
    ["port-range", 80, { first: 80, last: 80 }],
    ["port-range", "8000-8999", { first: 8000, last: 8999 }],
    ["port-range", "0-65535", { first: 0, last: 65535 }],
    ["ipv4", "192.0.2.1", "192.0.2.1"],
    ["ipv6", "2001:DB8:0:0::0001", "2001:db8::1"],
    ["ipv6", "1:0:0:2:0:0:0:3", "1:0:0:2::3"],
    ["ipv6", "::ffff:1.2.3.4", "::ffff:102:304"],
    ["ipv6", "64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
    ["ipv6", "::1.2.3.4", "::102:304"],
    ["ip", "10.0.0.1", "10.0.0.1"],
    ["ip", "::", "::"],
    ["prefix", "10.0.0.0/8", "10.0.0.0/8"],
    ["prefix", "0.0.0.0/0", "0.0.0.0/0"],
    ["prefix", "10.1.2.3", "10.1.2.3/32"],
    ["prefix", "2001:db8::/32", "2001:db8::/32"],
    ["prefix", "2001:db8:8000::/33", "2001:db8:8000::/33"],
    ["prefix", "2001:db8::1", "2001:db8::1/128"],
    ["interface-address", "10.77.0.1/24", "10.77.0.1/24"],
    ["interface-address", "fd00::1/64", "fd00::1/64"],
    ["interface-address", "10.77.0.1", "10.77.0.1/32"],
    ["mac", "02:00:5E:10:00:01", "02:00:5e:10:00:01"],
    ["string", "", ""],
    ["output", "refuse", "refuse"],
    ["output", "drop", "drop"],
    ["output", "accept", "next"],
  ])("%s %j", (kind, value, expected) => {
    expect(read(typed(kind), value)).toEqual(expected);
  });

  it("a code is a word or a number", () => {
    const proto = typed({ kind: "code", codes: { tcp: 6 } });
    expect([read(proto, "tcp"), read(proto, 89)]).toEqual([6, 89]);
  });

  it("a scalar stands for a list of one", () => {
    const ports = typed({ kind: "list", of: { kind: "port-range" } });
    expect(read(ports, 443)).toEqual([{ first: 443, last: 443 }]);
    expect(read(ports, [443, "8000-8999"])).toHaveLength(2);
    expect(read(ports, [])).toEqual([]);
  });
});

describe("what is refused, with a suggestion where there is one", () => {
  it.each<[ScalarType, unknown, string]>([
    ["bool", "yes", 'x wants true or false, has "yes" -> true'],
    ["bool", 1, "x wants true or false, has 1"],
    ["u8", 256, "x wants 0 to 255, has 256"],
    ["u8", -1, "x wants 0 to 255, has -1"],
    ["u16", "80", 'x wants a number, has "80" -> 80'],
    ["u16", 1.5, "x wants a whole number, has 1.5"],
    ["u32", Number.NaN, "x wants a whole number, has NaN"],
    ["u64", 2 ** 53, "x wants 0 to 9007199254740991, has 9007199254740992"],
    ["f64", Number.POSITIVE_INFINITY, "x wants a finite number, has Infinity"],
    ["size", "64K", 'x wants a size (1500, 64KiB, 1MB), has "64K" -> 64KiB'],
    ["size", "64mb", 'x wants a size (1500, 64KiB, 1MB), has "64mb" -> 64MB'],
    ["size", -1, "x wants a size (1500, 64KiB, 1MB), has -1"],
    ["size", "0.5", 'x wants a whole number of bytes, has "0.5"'],
    ["size", "99999TiB", 'x wants at most 9007199254740991, has "99999TiB"'],
    ["size", 1e300, "x wants a size (1500, 64KiB, 1MB), has 1e+300"],
    ["duration", 10, "x wants a duration (500us, 10s, 2h4m), has 10 -> 10s"],
    ["duration", "4m2h", 'x wants a duration (500us, 10s, 2h4m), has "4m2h"'],
    ["duration", "1m1m", 'x wants a duration (500us, 10s, 2h4m), has "1m1m"'],
    ["duration", "10 s", 'x wants a duration (500us, 10s, 2h4m), has "10 s"'],
    ["duration", "0.5ns", 'x wants a whole number of nanoseconds, has "0.5ns"'],
    ["duration", "105d", 'x wants at most 104d5h59m59s254ms740us991ns, has "105d"'],
    ["duration", null, "x wants a duration (500us, 10s, 2h4m), has nothing"],
    ["rate", "10mbit", 'x wants a rate (10Mbit, 100kpps), has "10mbit" -> 10Mbit'],
    ["rate", 100, "x wants a rate (10Mbit, 100kpps), has 100"],
    ["rate", "0.5pps", 'x wants a whole number of packets a second, has "0.5pps"'],
    ["port", 65536, "x wants ports 0 to 65535, has 65536"],
    ["port", "80-81", 'x wants one port (80), has "80-81"'],
    ["port", "https", 'x wants a port (80) or a range of ports (8000-8999), has "https"'],
    ["port", 80.5, "x wants a port (80) or a range of ports (8000-8999), has 80.5"],
    ["port", -80, "x wants a port (80) or a range of ports (8000-8999), has -80"],
    ["port-range", "8999-8000", 'x wants the lower port first, has "8999-8000" -> 8000-8999'],
    ["port-range", "1-2-3", 'x wants a port (80) or a range of ports (8000-8999), has "1-2-3"'],
    ["ipv4", "10.1", 'x wants an IPv4 address (192.0.2.1), has "10.1"'],
    ["ipv4", 10.1, "x wants an IPv4 address (192.0.2.1), has 10.1"],
    ["ipv4", "0x7f.0.0.1", 'x wants an IPv4 address (192.0.2.1), has "0x7f.0.0.1"'],
    ["ipv4", "010.0.0.1", 'x wants an IPv4 address (192.0.2.1), has "010.0.0.1"'],
    ["ipv4", "1.2.3.256", 'x wants an IPv4 address (192.0.2.1), has "1.2.3.256"'],
    ["ipv4", "1.2.3.4.", 'x wants an IPv4 address (192.0.2.1), has "1.2.3.4."'],
    ["ipv4", "::1", 'x wants an IPv4 address (192.0.2.1), has "::1"'],
    ["ipv6", "fe80::1%eth0", 'x wants an IPv6 address (2001:db8::1), has "fe80::1%eth0"'],
    ["ipv6", "1::2::3", 'x wants an IPv6 address (2001:db8::1), has "1::2::3"'],
    ["ipv6", "::ffff:010.1.1.1", 'x wants an IPv6 address (2001:db8::1), has "::ffff:010.1.1.1"'],
    ["ipv6", "10.0.0.1", 'x wants an IPv6 address (2001:db8::1), has "10.0.0.1"'],
    ["prefix", "10.0.0.1/8", 'x wants a prefix whose last 24 bits are zero, has "10.0.0.1/8" -> 10.0.0.0/8'],
    [
      "prefix",
      "2001:db8::1/33",
      'x wants a prefix whose last 95 bits are zero, has "2001:db8::1/33" -> 2001:db8::/33',
    ],
    ["prefix", "10.0.0.0/33", 'x wants a prefix length of 0 to 32, has "10.0.0.0/33"'],
    ["prefix", "10.0.0.0/08", 'x wants a prefix (10.0.0.0/8, 2001:db8::/32), has "10.0.0.0/08"'],
    ["prefix", "10.0.0.0/", 'x wants a prefix (10.0.0.0/8, 2001:db8::/32), has "10.0.0.0/"'],
    ["prefix", "10.0.0.0/8/8", 'x wants a prefix (10.0.0.0/8, 2001:db8::/32), has "10.0.0.0/8/8"'],
    ["prefix", "10/8", 'x wants a prefix (10.0.0.0/8, 2001:db8::/32), has "10/8"'],
    ["interface-address", "::1/129", 'x wants a prefix length of 0 to 128, has "::1/129"'],
    [
      "mac",
      "02-00-5e-10-00-01",
      'x wants a MAC address (02:00:5e:10:00:01), has "02-00-5e-10-00-01" -> 02:00:5e:10:00:01',
    ],
    ["mac", "02:00:5e:10:00", 'x wants a MAC address (02:00:5e:10:00:01), has "02:00:5e:10:00"'],
    ["string", 5, "x wants text (put it in quotes), has 5"],
    ["string", "a\0b", 'x wants text without NUL characters, has "a\\u0000b"'],
    ["output", "Refuse", 'x wants an output (accept, drop, or a name that the path wires), has "Refuse"'],
  ])("%s %j", (kind, value, expected) => {
    expect(refusal(typed(kind), value)).toEqual([expected]);
  });

  it("words that are not in an enum or a code", () => {
    const mode = typed({ kind: "enum", values: ["auto", "on", "off"] });
    expect(refusal(mode, "atuo")).toEqual(['x wants auto, on or off, has "atuo" -> auto']);
    expect(refusal(mode, true)).toEqual(["x wants auto, on or off, has true"]);
    const proto = typed({ kind: "code", codes: { tcp: 6, udp: 17 } }, { max: 200 });
    expect(refusal(proto, "tpc")).toEqual(['x wants tcp, udp or a number, has "tpc" -> tcp']);
    expect(refusal(proto, 201)).toEqual(["x wants 0 to 200, has 201"]);
    expect(refusal(proto, "toString")).toEqual(['x wants tcp, udp or a number, has "toString"']);
  });

  it("ranges, in the words of the type", () => {
    expect(refusal(typed("duration", { min: 1e9, max: 3600e9 }), "2h")).toEqual([
      'x wants 1s to 1h, has "2h"',
    ]);
    expect(refusal(typed("size", { min: 4096 }), "1KiB")).toEqual(['x wants at least 4KiB, has "1KiB"']);
    expect(refusal(typed("f64", { max: 1 }), 1.5)).toEqual(["x wants at most 1, has 1.5"]);
    expect(refusal(typed("f64", { min: 0, max: 100 }), "101%")).toEqual(['x wants 0 to 100, has "101%"']);
    expect(refusal(typed({ kind: "list", of: { kind: "u8" } }, { min: 2, max: 3 }), [1])).toEqual([
      "x wants 2 to 3 elements, has 1",
    ]);
  });

  it("every element of a list that is wrong, by its index", () => {
    const ports = typed({ kind: "list", of: { kind: "u8" } });
    const parsed = parseParam(ports, [1, 256, 2, "z"]);
    expect("problems" in parsed && parsed.problems.map((p) => [p.path, p.message])).toEqual([
      [[1], "x[1] wants 0 to 255, has 256"],
      [[3], 'x[3] wants a number, has "z"'],
    ]);
  });
});

describe("maps of parameters", () => {
  const specs: ParamSpec[] = [
    { name: "needed", type: { kind: "u8" }, doc: "" },
    { name: "given", type: { kind: "duration" }, doc: "", default: "2m" },
    { name: "many", type: { kind: "list", of: { kind: "u8" } }, doc: "" },
    { name: "some", type: { kind: "list", of: { kind: "u8" } }, doc: "", min: 1, default: 7 },
    { name: "maybe", type: { kind: "mac" }, doc: "", default: null },
  ];

  it("get their defaults; a list without one is empty, a null default is absent", () => {
    expect(parseParams(specs, { needed: 1 })).toEqual({
      value: { needed: 1, given: 120e9, many: [], some: [7] },
    });
  });

  it("report unknown keys at the key, and what is missing at the map", () => {
    const list: ParamSpec = { name: "list", type: { kind: "list", of: { kind: "u8" } }, doc: "", min: 1 };
    expect(parseParams([...specs, list], { neded: 1, __proto__x: 2 })).toEqual({
      problems: [
        {
          path: ["neded"],
          atKey: true,
          code: "unknown-key",
          message: 'unknown key "neded"',
          suggestion: "needed",
        },
        {
          path: ["__proto__x"],
          atKey: true,
          code: "unknown-key",
          message: 'unknown key "__proto__x"; could be needed, given, many, some, maybe or list',
        },
        { path: [], atKey: false, code: "missing", message: "needed is missing" },
        { path: [], atKey: false, code: "missing", message: "list is missing" },
      ],
    });
  });

  it("do not suggest a key that is there", () => {
    const parsed = parseParams(specs, { needed: 1, neded: 1 });
    expect("problems" in parsed && parsed.problems[0].suggestion).toBeUndefined();
  });

  it("are not fooled by names that every object has", () => {
    const parsed = parseParams([{ name: "constructor", type: { kind: "u8" }, doc: "" }], {});
    expect(parsed).toHaveProperty("problems.0.message", "constructor is missing");
  });

  it("name outputs in the order of appearance", () => {
    const rules: ParamSpec[] = [
      { name: "default", type: { kind: "output" }, doc: "" },
      {
        name: "rules",
        type: {
          kind: "list",
          of: { kind: "record", fields: [{ name: "action", type: { kind: "output" }, doc: "" }] },
        },
        doc: "",
      },
    ];
    const values = parseParams(rules, {
      default: "b",
      rules: [{ action: "a" }, { action: "b" }, { action: "drop" }],
    });
    expect("value" in values && namedOutputs(rules, values.value)).toEqual(["b", "a", "drop"]);
  });
});
