// `pktflow filter`: from nothing to a filter in a pipeline, as a user goes there.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Pktflow, pktflow, ROOT, readReport, TemporaryFolder, until } from "../support/pktflow.ts";

const project = new TemporaryFolder();
afterAll(() => project.remove());
const env = { XDG_CACHE_HOME: project.file("cache") };
const run = (...args: string[]) => pktflow(args, { cwd: project.path, env });
const filter = (...args: string[]) => run("filter", ...args);
const edit = (file: string, change: (text: string) => string) =>
  writeFileSync(project.file(file), change(readFileSync(project.file(file), "utf8")));

describe.each([
  ["packet", "3 of 3"],
  ["batch", "2 of 2"],
  ["stateful", "2 of 2"],
])("filter new --template %s", (template, cases) => {
  const folder = `filters/my-${template}`;
  test("makes a folder that builds and passes its cases", async () => {
    const made = await filter("new", folder, "--template", template);
    expect(made.stderr).toBe("");
    expect(made.stdout).toContain(`pktflow filter test ${folder}\n`);
    const tested = await filter("test", folder);
    expect(tested.stdout).toMatch(new RegExp(`\n\n${cases} cases pass\n$`));
    expect(tested.status).toBe(0);
    const again = await filter("build", folder);
    expect(again.stdout).toMatch(/^cache\/pktflow\/filters\/my-.*\.wasm \(\d+ B, cached\)\n$/);
  });
  test("is known to the editor: a type checker finds the SDK, ./params and AssemblyScript's types", () => {
    mkdirSync(project.file("node_modules"), { recursive: true });
    if (!existsSync(project.file("node_modules/pktflow")))
      symlinkSync(ROOT, project.file("node_modules/pktflow"));
    const tsc = join(ROOT, "node_modules/.bin/tsc");
    const check = () =>
      execFileSync(tsc, ["-p", folder], { cwd: project.path, encoding: "utf8", stdio: "pipe" });
    expect(check()).toBe("");
    const index = readFileSync(project.file(`${folder}/index.ts`), "utf8");
    edit(`${folder}/index.ts`, (text) => `${text}export const wrong: u32 = params.nothing;\n`);
    expect(check).toThrow(/Command failed/);
    writeFileSync(project.file(`${folder}/index.ts`), index);
  });
  test("fits on a screen", () => {
    const lines = ["index.ts", "filter.yaml", "cases.yaml", "tsconfig.json", "README.md"].map(
      (file) => readFileSync(project.file(`${folder}/${file}`), "utf8").split("\n").length,
    );
    expect(Math.max(...lines)).toBeLessThan(30);
  });
});

describe("filter new", () => {
  test("overwrites nothing", async () => {
    mkdirSync(project.file("mine"));
    writeFileSync(project.file("mine/notes"), "kept");
    const { status, stderr } = await filter("new", "mine");
    expect(stderr).toMatch(/^pktflow: mine is there already/);
    expect(status).toBe(2);
    expect(readdirSync(project.file("mine"))).toEqual(["notes"]);
  });
  test("wants a name that a pipeline can have, and a template that there is", async () => {
    expect((await filter("new", "My_Filter")).stderr).toMatch(/^pktflow: a filter is called/);
    const { status, stderr } = await filter("new", "other", "--template", "fast");
    expect(stderr).toContain("packet, batch, stateful");
    expect(status).toBe(2);
    expect(existsSync(project.file("other"))).toBe(false);
  });
});

describe("filter list and show", () => {
  beforeAll(async () => {
    // It may have been made above already.
    await filter("new", "filters/my-packet");
  });
  test("list has the built-in filters, and those of a folder", async () => {
    const { stdout } = await filter("list", "filters");
    for (const name of ["acl ", "checksum ", "nat ", "filters/my-packet "])
      expect(stdout).toContain(`\n${name}`);
    const json = JSON.parse((await filter("list", "--json")).stdout);
    const folders = readdirSync(join(ROOT, "assembly", "filters")).sort();
    expect(json.map(({ kind }: { kind: string }) => kind)).toEqual(folders);
    expect(folders).toContain("nat");
  });
  test("show has parameters, outputs, counters, state, module, exports and cost", async () => {
    const { stdout, status } = await filter("show", "nat");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^nat: Source NAT/);
    expect(stdout).toMatch(/\ninside +(list of )?prefix/);
    expect(stdout).toMatch(
      /\nstate of each worker computed from the parameters, shared computed from the parameters\n/,
    );
    expect(stdout).toMatch(/\nmodule .*nat\.wasm \([\d.]+ KiB\)/);
    expect(stdout).toMatch(/\nexports abi init process .*tick/);
    expect(stdout).toMatch(/\ncost about [\d.e+]+ ns a packet, measured now/);
  });
  test("show --json", async () => {
    const shown = JSON.parse((await filter("show", "filters/my-packet", "--json")).stdout);
    expect(shown).toMatchObject({
      kind: "filters/my-packet",
      params: [{ name: "port", type: "port", default: "9", range: "" }],
      outputs: [{ name: "next" }, { name: "drop" }, { name: "caught" }],
      counters: [{ name: "malformed" }],
      state: { worker: 0, shared: 0, prepared: 0 },
    });
    expect(shown.cost.nsPerPacket).toBeGreaterThan(0);
    expect(shown.module.exports).toContain("process");
  });
  test("a filter that there is not", async () => {
    const { status, stderr } = await filter("show", "checksums");
    expect(stderr).toMatch(/^pktflow: there is no filter "checksums".*did you mean "checksum"\?\n$/);
    expect(status).toBe(2);
  });
});

describe("filter build and test", () => {
  beforeAll(async () => {
    await filter("new", "filters/work");
  });
  const index = "filters/work/index.ts";

  test("an error of the compiler looks like those of a pipeline file: exit status 2", async () => {
    edit(index, (text) => text.replace("Outputs.caught", "Outputs.cought"));
    const { status, stderr, stdout } = await filter("build", "filters/work");
    expect(stdout).toBe("");
    expect(stderr).toMatch(
      /^filters\/work\/index\.ts:12:\d+ error unknown-output: .*it has next, drop, caught: .*\n {2}12 \| {3}return .*\n {5}\| +\^{6} did you mean "caught"\?\n$/,
    );
    expect(status).toBe(2);
    expect((await filter("test", "filters/work")).status).toBe(2);
    edit(index, (text) => text.replace("Outputs.cought", "Outputs.caught"));
  });

  test("an error of the manifest too", async () => {
    edit("filters/work/filter.yaml", (text) => text.replace("params:", "parms:"));
    const { status, stderr } = await filter("build", "filters/work");
    expect(stderr).toMatch(
      /^filters\/work\/filter\.yaml:3:1 error unknown-key: .*\n.*\n.*did you mean "params"\?\n$/,
    );
    expect(status).toBe(2);
    edit("filters/work/filter.yaml", (text) => text.replace("parms:", "params:"));
  });

  test("a failing case is a difference of packets: exit status 1", async () => {
    edit(index, (text) =>
      text.replace(
        "  return Udp",
        "  store<u8>(p.ip, 9, 8);\n  if (p.length > 40) p.length = 40;\n  return Udp",
      ),
    );
    const { status, stdout } = await filter("test", "filters/work");
    expect(status).toBe(1);
    expect(stdout).toMatch(
      /^FAIL UDP to the port is caught, as it came \(filters\/work\/cases\.yaml:1\)\n {7}packet 1: differs from byte 8\n/,
    );
    expect(stdout).toMatch(/\n {9}field +expected +got\n {9}ipv4\.ttl +64 +9\n\n/);
    expect(stdout).toMatch(/0000 {2}expected {2}45 .*\n +got {2}45 .*\n +\^\^\n/);
    expect(stdout).toMatch(/\n1 of 3 cases pass\n$/);
    edit(index, (text) => text.replace(/ {2}store.*\n.*\n/, ""));
  });

  test("--watch runs them again at a change, and bears errors", async () => {
    const watching = new Pktflow(["filter", "test", "filters/work", "--watch"], { cwd: project.path, env });
    await until("the first run", () => watching.stdout.includes("3 of 3 cases pass"), 60_000);
    edit(index, (text) => text.replace("Outputs.caught", "Outputs.cought"));
    await until("the error", () => watching.stderr.includes("unknown-output"), 60_000);
    edit(index, (text) => text.replace("Outputs.cought", "OUTPUT_DROP"));
    // To the end of that run: one that is called off has no result.
    const failed = /left by drop, not by caught.*\d of 3 cases pass/s;
    await until("the failure", () => failed.test(watching.stdout), 60_000);
    expect((await watching.stop("SIGINT")).status).toBe(1);
    edit(index, (text) => text.replace("? OUTPUT_DROP", "? Outputs.caught"));
  });
});

describe("kind: ./filters/mine in a pipeline", () => {
  const file = "pipeline.yaml";
  beforeAll(async () => {
    await filter("new", "filters/mine");
    writeFileSync(
      project.file(file),
      `pktflow: 1
devices:
  traffic:
    kind: generator
    packets: 100
    flows:
      - &flow { proto: udp, from: 10.0.0.1, to: 10.0.0.2, from-port: 1, to-port: 7, size: 60 }
      - { <<: *flow, to-port: 9 }
  rest: { kind: discard }
  found: { kind: discard }
filters:
  mine: { kind: ./filters/mine, port: 9 }
paths:
  all: { from: traffic, through: [{ mine: { caught: aside } }], to: rest }
  aside: { to: found }
`,
    );
  });

  test("run builds it by itself, and again when it has changed", async () => {
    const counts = async () => {
      const { status, stderr } = await run("run", file, "--quiet", "--report", "report.json");
      expect(stderr).toBe("");
      expect(status).toBe(0);
      return readReport(project.file("report.json")).filters["mine"].outputs;
    };
    expect(await counts()).toMatchObject({ next: 50, drop: 0, caught: 50 });
    edit("filters/mine/index.ts", (text) =>
      text.replace("Outputs.caught : OUTPUT_NEXT", "OUTPUT_DROP : OUTPUT_NEXT"),
    );
    expect(await counts()).toMatchObject({ next: 50, drop: 50 });
  });

  test.each(["check", "run", "lab"])(
    "%s says what is wrong with its source: exit status 2",
    async (command) => {
      edit(
        "filters/mine/index.ts",
        (text) =>
          `${text}const broken: string = "text";\nexport function tick(): void { if (broken == "b") return; }\n`,
      );
      if (command === "lab")
        edit(file, (text) => text.replace("found: { kind: discard }", "found: { kind: tun }"));
      const { status, stderr } = await run(command, file);
      expect(stderr).toMatch(
        /^filters\/mine\/index\.ts:14:24 error string: .*parameter.*\n {2}14 \| const broken/,
      );
      expect(stderr).not.toMatch(/\n\s+at /);
      expect(status).toBe(2);
      edit("filters/mine/index.ts", (text) => text.replace(/const broken.*\n.*\n/, ""));
    },
  );

  test("a module without a manifest is told what it wants", async () => {
    writeFileSync(project.file("bare.wasm"), "");
    writeFileSync(
      project.file("bare-pipeline.yaml"),
      readFileSync(project.file(file), "utf8").replace(/kind: \.\/filters\/\w+/, "kind: ./bare.wasm"),
    );
    const { status, stderr } = await run("check", "bare-pipeline.yaml");
    expect(stderr).toMatch(
      /^bare-pipeline\.yaml:12:17 error unknown-kind: filter "mine": .*bare\.wasm says nothing .*: write .*bare\.yaml, in the format of a filter\.yaml/,
    );
    expect(status).toBe(2);
  });

  test("a folder that is missing, or has no manifest", async () => {
    edit(file, (text) => text.replace("./filters/mine", "./filters/none"));
    const { status, stderr } = await run("check", file);
    expect(stderr).toMatch(
      /^pipeline\.yaml:12:17 error unknown-kind: filter "mine": open .*none\/filter\.yaml: ENOENT/,
    );
    expect(status).toBe(2);
  });
});

test("--help has examples, for every command", async () => {
  for (const words of [[], ["show"], ["new"], ["build"], ["test"]]) {
    const { status, stdout } = await filter(...words, "--help");
    expect(status).toBe(0);
    expect(stdout).toMatch(/Examples:\n {2}pktflow filter/);
  }
});

describe("the README", () => {
  const section = /## Your own filter\n([\s\S]*?)\n## /.exec(
    readFileSync(join(ROOT, "README.md"), "utf8"),
  )![1];
  const commands = [.../```sh\n([\s\S]*?)```/.exec(section)![1].matchAll(/^npx pktflow ([^#\n]*)/gm)].map(
    ([, words]) => words.trim().split(" "),
  );

  test("has commands that work as printed, in this order, in an empty folder", async () => {
    const empty = new TemporaryFolder();
    expect(commands.map(([, verb]) => verb)).toEqual(["new", "test", "build", "show"]);
    for (const words of commands) {
      const { status, stderr } = await pktflow(words, { cwd: empty.path, env });
      expect(stderr, words.join(" ")).toBe("");
      expect(status).toBe(0);
    }
    empty.remove();
  });

  test("shows a difference of packets as it is printed", async () => {
    const folder = "filters/readme/mine";
    await filter("new", folder);
    edit(`${folder}/index.ts`, (text) =>
      text.replace("  return Udp", "  store<u8>(p.ip, 9, 8);\n  return Udp"),
    );
    const { stdout } = await filter("test", folder);
    const shown = /```\n(FAIL[\s\S]*?)```/.exec(section)![1];
    expect(stdout.replaceAll(folder, "filters/mine")).toContain(shown);
  });
});
