// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables in pipeline files look like placeholders.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ConfigError } from "../../src/config/diagnostics.ts";
import { loadPipeline, parsePipeline } from "../../src/config/pipeline.ts";
import { complaints, FIXTURES, options, parse, refused } from "./load.ts";

/** A sound pipeline with room for one change. */
const forward = (
  changes: { top?: string; lan?: string; through?: string; more?: string; filters?: string } = {},
) =>
  [
    "pktflow: 1",
    ...(changes.top ? [changes.top] : []),
    "devices:",
    `  lan: { kind: tun${changes.lan ? `, ${changes.lan}` : ""} }`,
    "  out: { kind: discard }",
    ...(changes.filters ? ["filters:", changes.filters] : []),
    "paths:",
    `  p: { from: lan, through: [${changes.through ?? ""}], to: out }`,
    ...(changes.more ? [changes.more] : []),
  ].join("\n");

describe("the contract's own example", () => {
  const pipeline = loadPipeline(`${FIXTURES}pipelines/nat-gateway.yaml`, options());

  it("has its devices, with defaults", () => {
    expect(pipeline).toMatchObject({ name: "nat-gateway", workers: 2 });
    expect(pipeline.devices).toMatchObject([
      {
        id: "lan",
        kind: "tun",
        params: { name: "lan", queues: 2, address: ["10.77.0.1/24"], mtu: 1500, offload: "auto" },
      },
      { id: "wan", kind: "tun", params: { name: "wan", queues: 2, address: ["198.51.100.1/24"] } },
    ]);
    expect(pipeline.devices[0].params).not.toHaveProperty("netns");
  });

  it("has its filters, with parameters in canonical form", () => {
    const [sane, firewall, masquerade, unreachable] = pipeline.filters;
    expect(sane).toMatchObject({
      id: "sane",
      onTrap: "drop",
      params: { verify: ["ipv4", "tcp", "udp", "icmp"] },
    });
    expect(firewall.params["default"]).toBe("drop");
    expect(firewall.params["rules"]).toMatchObject([
      {
        action: "next",
        proto: [6],
        "to-port": [
          { first: 443, last: 443 },
          { first: 8000, last: 8999 },
        ],
      },
      { action: "next", proto: [1] },
      { action: "refuse", proto: [6], "to-port": [{ first: 25, last: 25 }] },
    ]);
    expect(masquerade.params).toMatchObject({
      inside: "10.77.0.0/24",
      outside: "198.51.100.2",
      "udp-timeout": 120e9,
    });
    expect(unreachable.params["rate"]).toEqual({ value: 100, unit: "packet" });
  });

  it("numbers outputs, those that parameters name after those of the manifest", () => {
    expect(pipeline.filters.map((filter) => filter.outputs)).toEqual([
      ["next", "drop"],
      ["next", "drop", "refuse"],
      ["next", "drop"],
      ["next", "drop"],
    ]);
  });

  it("numbers counters, one for each element where the manifest says so", () => {
    expect(pipeline.filters[1].counters).toEqual(["malformed", "rule.0", "rule.1", "rule.2"]);
  });

  it("has its paths", () => {
    expect(pipeline.paths).toEqual([
      {
        id: "outbound",
        from: ["lan"],
        through: [
          { filter: "sane", outputs: {} },
          { filter: "firewall", outputs: { refuse: "bounce" } },
          { filter: "masquerade", outputs: {} },
        ],
        to: { kind: "device", device: "wan" },
      },
      {
        id: "inbound",
        from: ["wan"],
        through: [
          { filter: "sane", outputs: {} },
          { filter: "masquerade", outputs: {} },
        ],
        to: { kind: "device", device: "lan" },
      },
      {
        id: "bounce",
        from: [],
        through: [{ filter: "unreachable", outputs: {} }],
        to: { kind: "device", device: "lan" },
      },
    ]);
  });

  it("is plain data that can be cloned to a worker", () => {
    expect(structuredClone(pipeline)).toEqual(pipeline);
  });
});

describe("the examples that come with pktflow", () => {
  const folder = fileURLToPath(new URL("../../pipelines/", import.meta.url));
  it.each(readdirSync(folder).filter((name) => name.endsWith(".yaml")))(
    "%s loads, with the real devices and filters",
    (name) => {
      expect(loadPipeline(folder + name, { env: {} }).name).toBe(name.replace(".yaml", ""));
    },
  );
});

describe("defaults", () => {
  it("the name is the file's without its ending, workers are the largest number of queues", () => {
    expect(parse(forward({ lan: "queues: 3" }))).toMatchObject({ name: "p", workers: 3 });
    expect(parse(forward())).toMatchObject({ workers: 1 });
    expect(parse(forward({ top: "workers: 5", lan: "queues: 3" }))).toMatchObject({ workers: 5 });
  });

  it("a counter of a rule is called by the rule's name", () => {
    const filters = "  f: { kind: acl, rules: [{ name: web, action: accept }, { action: drop }] }";
    expect(parse(forward({ filters, through: "f" })).filters[0].counters).toEqual([
      "malformed",
      "rule.web",
      "rule.1",
    ]);
  });

  it("the host's own keys of a filter are not the filter's parameters", () => {
    const filters = "  f: { kind: checksum, on-trap: stop, isolation: none }";
    const [filter] = parse(forward({ filters, through: "f" })).filters;
    expect(filter).toMatchObject({ onTrap: "stop", isolation: "none", params: { verify: [], fix: [] } });
  });

  it("a path may lead to drop, to another path, or come from several devices", () => {
    const more = "  q: { from: tap0, to: p2 }\n  p2: { to: drop }";
    const text = forward({ more }).replace("devices:", "devices:\n  tap0: { kind: tap }");
    expect(parse(text).paths.map((path) => path.to)).toEqual([
      { kind: "device", device: "out" },
      { kind: "path", path: "p2" },
      { kind: "drop" },
    ]);
    const two = forward()
      .replace("from: lan", "from: [lan, b]")
      .replace("devices:", "devices:\n  b: { kind: tun }");
    expect(parse(two).paths[0].from).toEqual(["lan", "b"]);
  });
});

describe("YAML's own means", () => {
  it("anchors, aliases and merge keys", () => {
    const text = `
pktflow: 1
devices:
  a: &base { kind: tun, queues: 2, mtu: 9000 }
  b: { <<: *base, mtu: 1400 }
paths:
  p: &through { from: a, to: b }
  q: { <<: *through, from: b, to: a }
`;
    expect(parse(text).devices.map((device) => device.params)).toMatchObject([
      { name: "a", queues: 2, mtu: 9000 },
      { name: "b", queues: 2, mtu: 1400 },
    ]);
  });

  it("a byte order mark and CRLF", () => {
    expect(parse("\uFEFF" + forward().replaceAll("\n", "\r\n")).paths).toHaveLength(1);
    expect(complaints("\uFEFFpktflow: 1\r\nnmae: x\r\n")).toContain("p.yaml:2:1 error unknown-key");
  });

  it("no sexagesimal numbers and no octal by a leading zero", () => {
    expect(complaints(forward({ lan: "mac: 12:34" }))).toContain('unknown key "mac"');
    expect(complaints(forward({ lan: "mtu: 20:30" }))).toContain('mtu wants a number, has "20:30"');
    expect(parse(forward({ lan: "mtu: 01500" })).devices[0].params["mtu"]).toBe(1500);
  });
});

describe("variables", () => {
  const mtu = (value: string, env = {}) =>
    parse(forward({ lan: `mtu: ${value}` }), { env }).devices[0].params["mtu"];

  it("are replaced before the value gets its type, also in flow maps", () => {
    expect(mtu("${MTU}", { MTU: "9000" })).toBe(9000);
    expect(mtu("${BIG}${MTU}", { BIG: "1", MTU: "400" })).toBe(1400);
    expect(mtu("0x${HEX}", { HEX: "5dc" })).toBe(1500);
  });

  it("have a default, which an empty variable gets too, as in the shell", () => {
    expect(mtu("${MTU:-1400}")).toBe(1400);
    expect(mtu("${MTU:-1400}", { MTU: "" })).toBe(1400);
    expect(mtu("${MTU:-1400}", { MTU: "576" })).toBe(576);
  });

  it("may have defaults with any characters", () => {
    const text = (value: string) => forward({ lan: `netns: ${value}` });
    expect(parse(text("${N:-a, b: [c] #d}")).devices[0].params["netns"]).toBe("a, b: [c] #d");
    expect(parse(text("'${N:-it}s'")).devices[0].params["netns"]).toBe("its");
    expect(parse(text('"x-${N:-y}"')).devices[0].params["netns"]).toBe("x-y");
  });

  it("leave quoted text a text, and are not replaced again", () => {
    expect(complaints(forward({ lan: 'mtu: "${MTU}"' }), { env: { MTU: "9000" } })).toContain('has "9000"');
    const env = { A: "${B}", B: "no" };
    expect(parse(forward({ lan: "netns: ${A}" }), { env }).devices[0].params["netns"]).toBe("${B}");
  });

  it("do not reach prototypes", () => {
    expect(complaints(forward({ lan: "netns: ${toString}" }))).toContain("${toString} is not set");
  });
});

describe("--set", () => {
  const set = (...set: string[]) =>
    parse(
      forward({ lan: "queues: 2", filters: "  f: { kind: acl, rules: [{ action: drop }] }", through: "f" }),
      { set },
    );

  it("replaces a value, and adds one", () => {
    expect(set("devices.lan.queues=4").devices[0].params["queues"]).toBe(4);
    expect(set("devices.lan.mtu=576", "name=x", "workers=7")).toMatchObject({ name: "x", workers: 7 });
    expect(set("devices.lan.address=[10.0.0.1/8, fd00::1/64]").devices[0].params["address"]).toHaveLength(2);
    expect(set("filters.f.rules.0.action=accept").filters[0].params["rules"]).toMatchObject([
      { action: "next" },
    ]);
  });

  it("the last one wins", () => {
    expect(set("workers=3", "workers=4").workers).toBe(4);
  });

  it("changes one place, not what shares an anchor with it", () => {
    const text = "pktflow: 1\ndevices: { a: &d { kind: tun }, b: *d }\npaths: { p: { from: a, to: b } }";
    const { devices } = parse(text, { set: ["devices.a.queues=4"] });
    expect(devices.map((device) => device.params["queues"])).toEqual([4, 1]);
  });
});

describe("filters of the user's", () => {
  let folder: string;
  const manifest = "summary: Mine.\nparams:\n  depth: { type: u8 }\n";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "pktflow-config-"));
    writeFileSync(join(folder, "filter.yaml"), manifest);
    writeFileSync(join(folder, "mine.wasm"), "");
    writeFileSync(join(folder, "other.wasm"), "");
    writeFileSync(join(folder, "other.yaml"), manifest.replace("depth", "height"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  const load = (entry: string) => {
    const file = join(folder, "p.yaml");
    writeFileSync(file, forward({ filters: `  f: { ${entry} }`, through: "f" }));
    return loadPipeline(file, options());
  };

  it("are found by a path relative to the pipeline's file, or an absolute one", () => {
    expect(load("kind: ./, depth: 3").filters[0]).toMatchObject({
      manifest: { kind: "./", location: folder, summary: "Mine." },
      params: { depth: 3 },
    });
    expect(load(`kind: ${folder}, depth: 3`).filters[0].manifest.location).toBe(folder);
  });

  it("may be built modules, with their manifest beside them", () => {
    expect(load("kind: ./other.wasm, height: 3").filters[0].manifest.location).toBe(
      join(folder, "other.wasm"),
    );
    expect(load("kind: ./mine.wasm, depth: 3").filters[0].params).toEqual({ depth: 3 });
  });

  it("are refused where they are used when they are not there", () => {
    expect(refused(() => load("kind: ./gone.wasm")).message).toContain(
      `6:14 error unknown-kind: filter "f": open ${join(folder, "gone.wasm")}: ENOENT: there is no such file`,
    );
  });

  it("have their own manifest's errors shown in the manifest", () => {
    writeFileSync(join(folder, "filter.yaml"), manifest.replace("u8", "u9"));
    expect(refused(() => load("kind: ./, depth: 3")).message).toBe(
      `${join(folder, "filter.yaml")}:3:18 error bad-type: "u9" is not a type\n` +
        `   3 |   depth: { type: u9 }\n` +
        `     |                  ^^ did you mean "u8"?`,
    );
    writeFileSync(join(folder, "filter.yaml"), manifest);
  });
});

describe("files that cannot be read", () => {
  it.each([
    [
      "/nowhere/p.yaml",
      "/nowhere/p.yaml error cannot-read: open /nowhere/p.yaml: ENOENT: there is no such file",
    ],
    [FIXTURES, `${FIXTURES} error cannot-read: open ${FIXTURES}: EISDIR: it is a directory`],
  ])("%s", (file, message) => {
    expect(refused(() => loadPipeline(file, options())).message).toBe(message);
  });

  it("bytes that are not UTF-8", () => {
    const folder = mkdtempSync(join(tmpdir(), "pktflow-config-"));
    const file = join(folder, "p.yaml");
    writeFileSync(file, Buffer.from([0x61, 0xff, 0xfe]));
    expect(refused(() => loadPipeline(file, options())).message).toContain("it is not UTF-8 text");
    rmSync(folder, { recursive: true });
  });
});

describe("hostile files", () => {
  it("aliases of aliases that stand for billions of values", () => {
    const levels = Array.from({ length: 9 }, (_, i) => `l${i + 1}: &l${i + 1} [${`*l${i},`.repeat(9)}]`);
    expect(complaints(["l0: &l0 x", ...levels].join("\n"))).toContain(
      "error too-large: aliases stand for more than",
    );
  });

  it("many real rules are no reason to refuse a file", () => {
    const rule = "{ action: accept, proto: tcp, from: 10.0.0.0/8, to-port: [80, 443] }";
    const filters = `  f:\n    kind: acl\n    rules:\n${`      - ${rule}\n`.repeat(20_000)}`;
    expect(parse(forward({ filters, through: "f" })).filters[0].params["rules"]).toHaveLength(20_000);
  });

  it("an alias of what it is in", () => {
    expect(complaints("pktflow: 1\ndevices: &a { lan: *a }")).toContain(
      "bad-alias: an alias inside of what it stands for",
    );
  });

  it("brackets and lists that nest without end", () => {
    expect(complaints("[".repeat(10_000))).toContain("error ");
    expect(complaints("[".repeat(50_000))).toContain("error ");
    expect(complaints(`${"- ".repeat(20_000)}a`)).toContain("error ");
    expect(complaints(`devices: ${"[".repeat(10_000)}${"]".repeat(10_000)}`)).toContain("error ");
  });

  it("any damage to a good file gives a pipeline or diagnostics that point into it, never anything else", () => {
    const good = readFileSync(`${FIXTURES}pipelines/nat-gateway.yaml`, "utf8");
    const piece = fc.oneof(
      fc.constantFrom(
        "{",
        "}",
        "[",
        "]",
        ":",
        ": ",
        "-",
        "- ",
        "&a ",
        "*a",
        "<<: ",
        "${",
        "}",
        '"',
        "'",
        "|",
        ">",
        "\n",
        "\t",
        "#",
        "!!",
        "? ",
      ),
      fc.string({ maxLength: 5, unit: "binary" }),
    );
    const edit = fc.record({ at: fc.nat(good.length), remove: fc.nat(40), insert: piece });
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        let text = good;
        for (const { at, remove, insert } of edits)
          text = text.slice(0, at) + insert + text.slice(at + remove);
        try {
          parse(text);
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error;
          expect(error.diagnostics.length).toBeGreaterThan(0);
          const lines = text.split("\n");
          for (const { line, column, length, excerpt } of error.diagnostics) {
            expect(excerpt).toBe(lines[line - 1].replace(/\r$/, ""));
            expect(column).toBeGreaterThan(0);
            expect(column + length - 2).toBeLessThanOrEqual([...excerpt].length);
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  it("keys that every object has", () => {
    const text = complaints(forward({ lan: "__proto__: { queues: 4 }, constructor: 1" }));
    expect(text).toContain('unknown key "__proto__"');
    expect(text).toContain('unknown key "constructor"');
  });
});

describe("what is right and seldom meant", () => {
  const warnings = (text: string) => parsePipeline(text, "p.yaml").warnings;
  const device = (lan: string) => warnings(forward({ lan }));

  it("an address without a length, unless routes say what is behind it", () => {
    const none = (address: string, whole: string, usual: string) =>
      `device "lan": address ${address} has no length and is ${whole}, so no other host is behind it: write ${usual}, say, or give routes`;
    expect(device("address: 10.0.0.1")).toEqual([none("10.0.0.1", "10.0.0.1/32", "10.0.0.1/24")]);
    expect(device("address: [10.0.0.1/24, fd00::1]")).toEqual([none("fd00::1", "fd00::1/128", "fd00::1/64")]);
    expect(device("address: 10.0.0.1, routes: 10.0.0.0/8")).toBeUndefined();
    expect(device("address: 10.0.0.1/32")).toBeUndefined();
  });

  it("more workers than queues", () => {
    const workers = (count: number) => warnings(forward({ top: `workers: ${count}`, lan: "queues: 2" }));
    expect(workers(2)).toBeUndefined();
    expect(workers(1)).toBeUndefined();
    expect(workers(3)).toEqual([
      "workers: 3, but no device has more than 2 queues: 1 worker has nothing to do",
    ]);
    expect(warnings(forward({ top: "workers: 3" }))).toEqual([
      "workers: 3, but no device has more than one queue: 2 workers have nothing to do",
    ]);
  });
});
