// What differs between a pipeline that runs and its file as it is now.
import { describe, expect, test } from "vitest";
import { changesBetween, keptCounters } from "../../src/config/changes.ts";
import { parsePipeline } from "../../src/config/pipeline.ts";

const text = (
  params: string,
  more: { devices?: string; filters?: string; paths?: string; top?: string } = {},
) => `
pktflow: 1
${more.top ?? ""}
devices:
  a: { kind: generator, flows: { from: 10.0.0.1, to: 10.0.0.2 } }
  b: { kind: discard }
${more.devices ?? ""}
filters:
  firewall: { kind: acl, ${params} }
${more.filters ?? ""}
paths:
  p: { from: a, through: [firewall], to: b }
${more.paths ?? ""}
`;
const read = (...args: Parameters<typeof text>) => parsePipeline(text(...args), "p.yaml");

const NONE = "rules: []";

describe("changes", () => {
  test("of parameters that may change: which, of which filter", () => {
    const before = read(
      "sets: { s: [10.0.0.0/8], t: [11.0.0.0/8] }, rules: [{ action: accept, from: [s, t] }]",
    );
    const after = read(
      "default: accept, sets: { s: [10.0.0.0/9], t: [11.0.0.0/8] }, rules: [{ action: accept, from: [s, t] }]",
    );
    const { filters, restart } = changesBetween(before, after);
    expect(restart).toEqual([]);
    expect(filters.map(({ index, params }) => ({ index, params }))).toEqual([
      { index: 0, params: ["default", "sets.s", "rules"] },
    ]);
  });
  test("of a set alone: of the rules that name it alone nothing is said", () => {
    const rules = "rules: [{ action: accept, from: s }, { action: drop, not-to: [s] }]";
    const [before, after] = ["10.0.0.0/8", "11.0.0.0/8"].map((prefix) =>
      read(`sets: { s: [${prefix}] }, ${rules}`),
    );
    expect(changesBetween(before, after).filters.map(({ params }) => params)).toEqual([["sets.s"]]);
    const other = read(
      `sets: { s: [10.0.0.0/8] }, rules: [{ action: drop, from: s }, { action: drop, not-to: [s] }]`,
    );
    expect(changesBetween(before, other).filters[0].params).toEqual(["rules"]);
  });
  test("a set that comes and one that goes", () => {
    const before = read("sets: { s: 10.0.0.0/8 }, rules: [{ action: accept, from: s }]");
    const after = read("sets: { t: 10.0.0.0/8 }, rules: [{ action: accept, from: t }]");
    expect(changesBetween(before, after).filters[0].params).toEqual(["sets.s", "sets.t"]);
  });
  test("none, also where the file is written otherwise", () => {
    const after = read("default: drop, rules: [{ proto: tcp, action: drop }]");
    expect(changesBetween(read("rules: [{ action: drop, proto: [tcp] }]"), after)).toEqual({
      filters: [],
      restart: [],
    });
  });
  test("filters in another order are the same", () => {
    const more = { filters: "  z: { kind: checksum, verify: [ipv4] }", paths: "" };
    const through = (body: string) => body.replace("[firewall]", "[firewall, z]");
    const before = parsePipeline(through(text(NONE, more)), "p.yaml");
    const after = { ...before, filters: [...before.filters].reverse() };
    expect(changesBetween(before, after)).toEqual({ filters: [], restart: [] });
  });
  test.each([
    [
      "a parameter that memory was laid out by",
      { params: "connections: 5" },
      "filters.firewall.connections: only a restart changes it",
    ],
    ["on-trap", { params: "on-trap: pass" }, "filters.firewall.on-trap: only a restart changes it"],
    [
      "isolation",
      { params: "fragments-held: 0, isolation: memory" },
      "filters.firewall.isolation: only a restart changes it",
    ],
    [
      "another device",
      {
        devices: "  c: { kind: discard }",
        paths: "  q: { from: a2, to: c }\n",
        extra: "  a2: { kind: generator, flows: { from: 10.0.0.1, to: 10.0.0.2 } }",
      },
      "devices.c: only a restart adds it",
    ],
    ["workers", { top: "workers: 3" }, "workers: only a restart changes it"],
    ["its name", { top: "name: other" }, "name: only a restart changes it"],
  ])(
    "only a restart takes over: %s",
    (_, {
      params = "rules: []",
      devices = "",
      extra = "",
      paths = "",
      top = "",
    }: Record<string, string>, says) => {
      const after = read(params, { devices: `${devices}\n${extra}`, paths, top });
      expect(changesBetween(read(NONE), after).restart).toContain(says);
    },
  );
  test("a device's parameter, by its name; a device and a filter that are gone", () => {
    const before = read(NONE, {
      devices:
        "  c: { kind: discard }\n  d: { kind: generator, rate: 5kpps, flows: { from: 10.0.0.1, to: 10.0.0.2 } }",
      filters: "  sane: { kind: checksum, verify: [ipv4] }",
      paths: "  q: { from: d, through: [sane], to: c }",
    });
    const changed = read(NONE, {
      devices:
        "  c: { kind: discard }\n  d: { kind: generator, rate: 6kpps, flows: { from: 10.0.0.1, to: 10.0.0.2 } }",
      filters: "  sane: { kind: checksum, verify: [ipv4] }",
      paths: "  q: { from: d, through: [sane], to: c }",
    });
    expect(changesBetween(before, changed).restart).toEqual(["devices.d.rate: only a restart changes it"]);
    expect(changesBetween(before, read(NONE)).restart).toEqual([
      "devices.c: only a restart takes it away",
      "devices.d: only a restart takes it away",
      "filters.sane: only a restart takes it away",
      "paths.q: only a restart takes it away",
    ]);
  });
  test("rules that name another output than there was want a path for it, and so a restart", () => {
    const wired = (output: string) =>
      parsePipeline(
        text(`rules: [{ action: ${output} }]`, { paths: "  q: { to: drop }" }).replace(
          "[firewall]",
          `[{ firewall: { ${output}: q } }]`,
        ),
        "p.yaml",
      );
    expect(changesBetween(wired("refuse"), wired("audit")).restart).toEqual([
      "filters.firewall: only a restart gives it more outputs (audit)",
      "paths.p: only a restart changes it",
    ]);
  });
  test("an output that nothing names any more goes with its wire, and comes back with it", () => {
    const wired = (...outputs: string[]) =>
      parsePipeline(
        text(`rules: [${outputs.map((name) => `{ action: ${name} }`).join(", ")}]`, {
          devices: "  c: { kind: generator, flows: { from: 10.0.0.1, to: 10.0.0.2 } }",
          paths: "  q: { to: drop }\n  r: { from: c, through: [firewall], to: b }",
        }).replaceAll("[firewall]", `[{ firewall: { ${outputs.map((name) => `${name}: q`).join(", ")} } }]`),
        "p.yaml",
      );
    const before = wired("one", "two", "three");
    const { filters, restart } = changesBetween(before, wired("three", "one"));
    expect(restart).toEqual([]);
    expect(filters[0].config.outputs).toEqual(before.filters[0].outputs);
    // As the pipeline that runs is then.
    const between = { ...before, filters: [filters[0].config] };
    expect(changesBetween(between, wired("two", "one", "three")).restart).toEqual([]);
    const elsewhere = wired("two", "one", "three");
    elsewhere.paths[0].through[0].outputs["one"] = "r";
    expect(changesBetween(between, elsewhere).restart).toEqual(["paths.p: only a restart changes it"]);
  });
  test("outputs keep the numbers that they have", () => {
    const rules = ["{ action: one, proto: tcp }", "{ action: two, proto: udp }"];
    const wired = (order: string[]) =>
      parsePipeline(
        text(`rules: [${order.join(", ")}]`, { paths: "  q: { to: drop }" }).replace(
          "[firewall]",
          "[{ firewall: { one: q, two: q } }]",
        ),
        "p.yaml",
      );
    const [before, after] = [wired(rules), wired([...rules].reverse())];
    expect(after.filters[0].outputs).not.toEqual(before.filters[0].outputs);
    const { filters, restart } = changesBetween(before, after);
    expect(restart).toEqual([]);
    expect(filters[0].config.outputs).toEqual(before.filters[0].outputs);
  });
});

describe("counters that are kept", () => {
  const kept = (before: string, after: string) => {
    const [a, b] = [before, after].map((rules) => read(`rules: [${rules}]`).filters[0]);
    const fixed = a.counters.findIndex((name) => name.startsWith("rules."));
    const places = keptCounters(a, b);
    expect(places.slice(0, fixed)).toEqual(a.counters.slice(0, fixed).map((_, i) => i));
    return places.slice(fixed).map((place) => (place < 0 ? "new" : a.counters[place]));
  };
  test("those of named rules, wherever they stand now", () => {
    const after = "{ name: y, action: drop }, { name: x, action: drop }, { name: z, action: drop }";
    expect(kept("{ name: x, action: accept }, { name: y, action: drop }", after)).toEqual([
      "rules.y",
      "rules.x",
      "new",
    ]);
  });
  test("those of unnamed ones by their place, if there are as many", () => {
    const after = "{ action: accept, proto: udp }, { action: drop, proto: tcp }";
    expect(kept("{ action: accept, proto: udp }, { action: drop }", after)).toEqual(["rules.0", "rules.1"]);
  });
  test("and where one is put in, or taken out, those before and behind it", () => {
    const [a, b, c] = ["udp", "tcp", "icmp"].map((proto) => `{ action: accept, proto: ${proto} }`);
    expect(kept(`${a}, ${c}`, `${b}, ${a}, ${c}`)).toEqual(["new", "rules.0", "rules.1"]);
    expect(kept(`${a}, ${b}, ${c}`, `${a}, ${c}`)).toEqual(["rules.0", "rules.2"]);
    expect(kept(`${a}, ${a}`, a)).toEqual(["rules.0"]);
    expect(kept(`${a}, { name: x, action: drop }, ${c}`, `{ name: x, action: drop }, ${c}`)).toEqual([
      "rules.x",
      "rules.2",
    ]);
  });
  test("but not where they say something else", () => {
    const before = "{ action: accept, proto: udp }, { action: drop }";
    const after = "{ action: accept, proto: udp }, { action: drop, proto: tcp }, { action: drop }";
    // The last one is known as such.
    expect(kept(before, after)).toEqual(["rules.0", "new", "rules.1"]);
  });
});
