// pipeline() says of an object what the checker says of a file with the same words.
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parsePipeline } from "../../src/config/pipeline.ts";
import { load, PipelineError, pipeline } from "../../src/library/pipeline.ts";
import { textOf } from "../../src/library/text.ts";
import { ROOT } from "../support/pktflow.ts";

const generator = { kind: "generator", flows: { from: "10.0.0.1", to: "192.0.2.1" } } as const;

function refusal(action: () => unknown): PipelineError {
  try {
    action();
  } catch (error) {
    if (error instanceof PipelineError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

describe("pipeline()", () => {
  test("gives what a file with the same words gives", () => {
    const flow = pipeline({
      name: "same",
      workers: 2,
      devices: { a: generator, b: { kind: "discard" } },
      filters: {
        fw: {
          kind: "acl",
          default: "accept",
          rules: [
            { action: "refuse", proto: "tcp", "to-port": [25, "8000-8999"] },
            { action: "drop", from: "10.0.0.0/8" },
          ],
        },
        why: { kind: "icmp-error", code: "admin-prohibited", "on-trap": "pass" },
      },
      paths: {
        main: { from: ["a"], through: [{ fw: { refuse: "other" } }], to: "b" },
        other: { through: "why", to: "drop" },
      },
    });
    const text = `pktflow: 1
name: same
workers: 2
devices: { a: { kind: generator, flows: { from: 10.0.0.1, to: 192.0.2.1 } }, b: { kind: discard } }
filters:
  fw:
    kind: acl
    default: accept
    rules:
      - { action: refuse, proto: tcp, to-port: [25, 8000-8999] }
      - { action: drop, from: 10.0.0.0/8 }
  why: { kind: icmp-error, code: admin-prohibited, on-trap: pass }
paths:
  main: { from: a, through: [{ fw: { refuse: other } }], to: b }
  other: { through: why, to: drop }
`;
    expect({ ...flow.pipeline, file: "" }).toEqual({ ...parsePipeline(text, "x.yaml"), file: "" });
  });
  test("says everything that is wrong at once, with the checker's codes and the place in the object", () => {
    const error = refusal(() =>
      pipeline({
        devices: {
          a: { kind: "generator", flows: [{ from: "10.0.0.1", to: "here" }] },
          b: { kind: "discard" },
        },
        filters: {
          fw: {
            kind: "acl",
            rules: [{ action: "accept" }, { action: "accept", proto: "tpc" as "tcp", "to-port": [1, 70000] }],
          },
        },
        // biome-ignore lint/suspicious/noExplicitAny: what a type checker would say is the checker's to say here
        paths: { main: { from: "a", through: ["fv" as any], to: "b" } },
      }),
    );
    expect(error.diagnostics.map(({ code, path }) => [code, path])).toEqual([
      ["bad-value", "devices.a.flows[0].to"],
      ["bad-value", "filters.fw.rules[1].proto"],
      ["out-of-range", "filters.fw.rules[1].to-port[1]"],
      ["unknown-filter", "paths.main.through[0]"],
    ]);
    expect(error.message).toContain(
      'pipeline(): filters.fw.rules[1].proto error bad-value: filter "fw": proto wants',
    );
    expect(error.message).toMatch(
      / \| {7}- \{ action: "accept", proto: "tpc".*\n +\| +\^\^\^\^\^ did you mean "tcp"\?/,
    );
  });
  test("has the program's own variables instead of the environment's, unless it asks for them", () => {
    const definition = {
      devices: { a: generator, b: { kind: "discard" } },
      paths: { ["m"]: { from: "a", to: "b" } },
    } as const;
    const named = { ...definition, name: "$" + "{HOME}" };
    expect(refusal(() => pipeline(named)).diagnostics[0].path).toBe("name");
    expect(pipeline(named, { env: { HOME: "here" } }).pipeline.name).toBe("here");
  });
  test("finds the user's own filters from `base`: a folder, or a URL beside which they lie", () => {
    const definition = {
      devices: { a: generator, b: { kind: "discard" } },
      filters: { mine: { kind: "./filters/sni-block", names: ["blocked.example"] } },
      paths: { main: { from: "a", through: "mine", to: "b" } },
    } as const;
    const folder = join(ROOT, "pipelines");
    const location = join(folder, "filters/sni-block");
    expect(pipeline(definition, { base: folder }).pipeline.filters[0].manifest.location).toBe(location);
    const url = new URL(`file://${folder}/code/../flow.ts`);
    expect(pipeline(definition, { base: url }).pipeline.filters[0].manifest.location).toBe(location);
    expect(refusal(() => pipeline(definition, { base: "/nowhere" })).diagnostics[0]).toMatchObject({
      code: "unknown-kind",
      path: "filters.mine.kind",
    });
  });
  test("refuses what no file could say", () => {
    const cyclic: Record<string, unknown> = { kind: "./x" };
    cyclic["self"] = cyclic;
    expect(() => textOf({ a: cyclic })).toThrow("a.self: the pipeline's definition contains itself");
    expect(() => textOf({ a: { b: [() => 1] } })).toThrow("a.b[0]: a function cannot stand in a pipeline");
    expect(() => textOf({ a: new Map() })).toThrow("a: a object cannot stand in a pipeline");
  });
});

test("load() reads a pipeline file, with --set", () => {
  const file = join(ROOT, "pipelines/quickstart.yaml");
  expect(load(file, { set: ["workers=1"] }).pipeline).toMatchObject({ name: "quickstart", workers: 1 });
  expect(load(new URL(`file://${file}`)).pipeline.workers).toBe(2);
});
