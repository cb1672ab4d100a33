import type { Manifest } from "../../src/config/types.ts";
import type { ParamSpec, ParamType, ScalarType } from "../../src/params/types.ts";

const spec = (name: string, type: ParamType | ScalarType, more: Partial<ParamSpec> = {}): ParamSpec => ({
  name,
  type: typeof type === "string" ? { kind: type } : type,
  doc: `The ${name}.`,
  ...more,
});

/** A filter with a parameter of every type, and lists and records of the awkward ones. */
export const sample: Manifest = {
  kind: "sample",
  location: "/nowhere",
  summary: "Has every type.",
  params: [
    spec("on", "bool"),
    spec("min-ttl", "u8"),
    spec("width", "u16"),
    spec("mode", { kind: "enum", values: ["strict", "loose", "802-1q", "default"] }),
    spec("count", "u32"),
    spec("proto", { kind: "code", codes: { tcp: 6, udp: 17 } }),
    spec("total", "u64"),
    spec("delta", "i32"),
    spec("share", "f64"),
    spec("timeout", "duration"),
    spec("buffer", "size"),
    spec("limit", "rate"),
    spec("port", "port"),
    spec("ports", "port-range"),
    spec("outside", "ipv4"),
    spec("outside6", "ipv6"),
    spec("server", "ip"),
    spec("inside", "prefix"),
    spec("link", "interface-address"),
    spec("hardware", "mac"),
    spec("label", "string"),
    spec("default", "output"),
    spec("sizes", { kind: "list", of: { kind: "size" } }),
    spec("macs", { kind: "list", of: { kind: "mac" } }),
    spec("matrix", { kind: "list", of: { kind: "list", of: { kind: "u16" } } }),
    spec("rules", {
      kind: "list",
      of: {
        kind: "record",
        fields: [
          spec("name", "string", { default: "" }),
          spec("action", "output"),
          spec("from", { kind: "list", of: { kind: "prefix" } }),
          spec("to-port", { kind: "list", of: { kind: "port-range" } }),
          spec("near", "prefix", { default: null }),
          spec("limit", { kind: "record", fields: [spec("burst", "u8"), spec("rate", "rate")] }),
        ],
      },
    }),
    spec("hosts", { kind: "list", of: { kind: "ip" } }),
  ],
  outputs: [{ name: "refuse", doc: "Refused." }],
  counters: [
    { name: "bad-tcp", doc: "Bad TCP." },
    { name: "rule", doc: "A rule's packets.", each: "rules" },
    { name: "host", doc: "A host's packets.", each: "hosts" },
  ],
  state: { worker: 0, shared: 0, prepared: 0 },
  holds: 0,
  superPackets: true,
};

/** Its parameters as they would stand in a pipeline file. */
export const sampleValues = {
  on: true,
  "min-ttl": 200,
  width: 0x1234,
  mode: "loose",
  count: 0x89abcdef,
  proto: "udp",
  total: Number.MAX_SAFE_INTEGER,
  delta: -5,
  share: 0.25,
  timeout: "2h4m",
  buffer: "64KiB",
  limit: "100kpps",
  port: 8080,
  ports: "8000-8999",
  outside: "198.51.100.2",
  outside6: "2001:db8::1",
  server: "192.0.2.7",
  inside: "10.77.0.0/24",
  link: "fd00::1/64",
  hardware: "02:00:5e:10:00:01",
  label: "grün",
  default: "drop",
  sizes: [1, "1KiB", "1MB"],
  macs: ["02:00:00:00:00:01", "02:00:00:00:00:02"],
  matrix: [[1, 2, 3], [], [4]],
  rules: [
    {
      name: "web",
      action: "accept",
      from: ["10.0.0.0/8", "2001:db8::/32"],
      "to-port": [443, "8000-8999"],
      limit: { burst: 9, rate: "10Mbit" },
    },
    { action: "refuse", "to-port": 25, near: "192.0.2.1", limit: { burst: 1, rate: "1pps" } },
  ],
  hosts: "2001:db8::7",
};
export const sampleOutputs = ["next", "drop", "refuse"];
