// The packed tarball, installed into an empty folder as a user does it: what is in it, and that all works from it.
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { describeKernel } from "../support/namespace.ts";
import { ROOT, readReport, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

const packed = JSON.parse(
  execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder.path], {
    cwd: ROOT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  }),
)[0] as { filename: string; files: { path: string }[] };
const paths = packed.files.map(({ path }) => path).sort();

/** Names in a packed module's imports, re-exports, import() and require() calls. */
function importsOf(path: string): string[] {
  const text = readFileSync(join(ROOT, path), "utf8").replace(/^\s*(\*|\/\*|\/\/).*$/gm, "");
  const statements = [...text.matchAll(/^(?:import|export)\b[^;"'`]*?(?:from )?"([^"]+)";/gm)];
  const calls = [...text.matchAll(/\b(?:import|require)[$\d]*\("([^"]+)"\)/g)];
  return [...statements, ...calls].map((match) => match[1]);
}

const project = folder.file("project");
mkdirSync(project);
const env = { ...process.env, NO_COLOR: "1", XDG_CACHE_HOME: folder.file("cache") };
writeFileSync(join(project, "package.json"), '{ "private": true }\n');
/** npm's cache has the dependencies after `npm ci`; without it, the registry has. */
const npm = (...args: string[]) =>
  spawnSync(
    "npm",
    ["install", "--no-audit", "--no-fund", "--fetch-retries=0", ...args, `../${packed.filename}`],
    {
      cwd: project,
      encoding: "utf8",
    },
  );
let install = npm("--offline");
if (install.status !== 0) install = npm("--prefer-offline", "--fetch-timeout=20000");
const reachable =
  install.status === 0 ||
  !/ENOTCACHED|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH/.test(install.stderr);

const npx = (...args: string[]) =>
  spawnSync("npx", ["--offline", "pktflow", ...args], { cwd: project, encoding: "utf8", env });
const node = (...args: string[]) =>
  spawnSync(process.execPath, args, { cwd: project, encoding: "utf8", env });

describe("the tarball", () => {
  test("holds the bundle and no other compiled source; what is loaded from it is in it", () => {
    const compiled = paths.filter((path) => /^build\/.*\.js$/.test(path));
    expect(compiled.filter((path) => !path.startsWith("build/bundle/"))).toEqual([]);
    const { bin, exports } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    expect(paths).toEqual(expect.arrayContaining([bin.pktflow, exports["."].default.slice(2)]));
    const loaded = compiled.flatMap((path) => importsOf(path).filter((name) => name.startsWith("./")));
    expect(loaded.length).toBeGreaterThan(0);
    expect(loaded.filter((name) => !compiled.includes(`build/bundle/${name.slice(2)}`))).toEqual([]);
  });
  test("has each source at one place, and every library that is not in it is a dependency", () => {
    const maps = readdirSync(join(ROOT, "build/bundle")).filter((name) => name.endsWith(".map"));
    const sources = maps.flatMap(
      (name) => JSON.parse(readFileSync(join(ROOT, "build/bundle", name), "utf8")).sources as string[],
    );
    const own = sources.filter((source) => source.includes("/src/"));
    expect(own.length).toBeGreaterThan(100);
    expect(own.filter((source, i) => own.indexOf(source) !== i)).toEqual([]);
    const { dependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    const outside = paths
      .filter((path) => /^build\/bundle\/.*\.js$/.test(path))
      .flatMap(importsOf)
      .filter((name) => !/^(\.|node:)/.test(name))
      .map((name) => name.split("/")[0]);
    expect([...new Set(outside)].sort()).toEqual(Object.keys(dependencies).sort());
    const licences = readFileSync(join(ROOT, "build/bundle/LICENSES.txt"), "utf8");
    for (const name of sources.map((source) => /node_modules\/([^/]+)/.exec(source)?.[1])) {
      if (name !== undefined) expect(licences).toMatch(new RegExp(`^${name} \\d`, "m"));
    }
  });
  test("holds nothing but modules, types, the SDK, the examples, the C peers and its papers", () => {
    const known = [
      /^build\/bundle\/([a-zA-Z0-9_-]+\.js|LICENSES\.txt)$/,
      /^build\/.*\.d\.ts$/,
      /^build\/wasm\/(core\.wasm|filters\/[a-z0-9-]+\.(wasm|params\.ts|manifest\.json))$/,
      /^build\/docs\/.*\.md$/,
      /^assembly\/(abi|core|wire|lib)\/[a-z0-9-]+\.ts$/,
      /^assembly\/(index\.ts|README\.md)$/,
      /^assembly\/filters\/[a-z0-9-]+\/([a-z0-9-]+\.ts|filter\.yaml|cases\.yaml|README\.md)$/,
      /^assembly\/(templates|editor)\//,
      /^assembly\/(c\/pktflow\.h|isolated\/asconfig\.json)$/,
      /^bench\/peers\/[a-z-]+\.[ch]$/,
      /^pipelines\//,
      /^src\/control\/README\.md$/,
      /^(package\.json|README\.md|LICENSE|CHANGELOG\.md|asconfig\.json)$/,
    ];
    expect(paths.filter((path) => !known.some((pattern) => pattern.test(path)))).toEqual([]);
    expect(paths.filter((path) => /\.map$|(^|\/)\.pktflow\/|node_modules|\.test\./.test(path))).toEqual([]);
  });
});

describe.skipIf(!reachable)("installed in an empty folder (skipped without npm's cache or registry)", () => {
  test("npm install takes it", () => {
    expect(install.stderr).not.toMatch(/npm error/);
    expect(install.status).toBe(0);
  });
  test("npx pktflow: help, check of an example, the quick start", () => {
    expect(npx("--help").stdout).toContain("Usage: pktflow");
    const file = "node_modules/pktflow/pipelines/nat-gateway.yaml";
    expect(npx("check", file)).toMatchObject({ status: 0, stderr: "" });
    const report = folder.file("quickstart.json");
    const ran = npx(
      "run",
      "node_modules/pktflow/pipelines/quickstart.yaml",
      "--quiet",
      "--report",
      report,
      "--for",
      "500ms",
    );
    expect(ran).toMatchObject({ status: 0, stderr: "" });
    expect(Object.values(readReport(report).filters).every(({ packets }) => packets > 0)).toBe(true);
  });
  test("npx pktflow: a filter of the user's own, from nothing to packets", () => {
    expect(npx("filter", "new", "filters/mine")).toMatchObject({ status: 0, stderr: "" });
    expect(npx("filter", "build", "filters/mine").stdout).toMatch(/mine-[0-9a-f]+\.wasm/);
    expect(npx("filter", "test", "filters/mine").stdout).toMatch(/3 of 3 cases pass\n$/);
    expect(npx("filter", "test", "nat").status).toBe(0);
    writeFileSync(
      join(project, "mine.yaml"),
      `pktflow: 1
devices:
  load: { kind: generator, flows: [{ from: 10.0.0.1, to: 192.0.2.1, to-port: 9 }, { from: 10.0.0.1, to: 192.0.2.1, to-port: 53 }], packets: 1000 }
  sink: { kind: discard }
filters:
  mine: { kind: ./filters/mine, port: 9 }
paths:
  main: { from: load, through: [{ mine: { caught: other } }], to: sink }
  other: { to: drop }
`,
    );
    const report = folder.file("mine.json");
    expect(npx("run", "mine.yaml", "--quiet", "--report", report)).toMatchObject({ status: 0, stderr: "" });
    expect(readReport(report).filters["mine"].outputs).toEqual({ next: 500, drop: 0, caught: 500 });
  });
  describeKernel("in a lab", () => {
    test("npx pktflow lab with a filter of the user's own drops real packets", () => {
      if (!existsSync(join(project, "filters/mine"))) npx("filter", "new", "filters/mine");
      writeFileSync(
        join(project, "wire.yaml"),
        `pktflow: 1
devices:
  left: { kind: tun, address: 10.77.0.1/24 }
  right: { kind: tun, address: 10.78.0.1/24 }
filters:
  mine: { kind: ./filters/mine, port: 4000 }
paths:
  there: { from: left, through: [{ mine: { caught: gone } }], to: right }
  back: { from: right, to: left }
  gone: { to: drop }
`,
      );
      const report = folder.file("lab.json");
      const udp = (port: number) => `exec 3<>/dev/udp/10.78.0.1/${port}; echo hello >&3`;
      const ran = npx(
        "lab",
        "--quiet",
        "--report",
        report,
        "wire.yaml",
        "--",
        "bash",
        "-c",
        `${udp(4000)}; ${udp(4001)}; sleep 0.2`,
      );
      expect(ran).toMatchObject({ status: 0 });
      expect(readReport(report).filters["mine"].outputs).toMatchObject({ caught: 1 });
      expect(readReport(report).filters["mine"].outputs["next"]).toBeGreaterThanOrEqual(1);
    });
  });
  test("import and require give the library", () => {
    const program = `
      const { pipeline, run } = KIND;
      const flow = pipeline({
        devices: { in: { kind: "memory" }, out: { kind: "memory" } },
        paths: { main: { from: "in", to: "out" } },
      });
      run(flow).then(async (running) => {
        await running.devices.in.feed([new Uint8Array(20)]);
        await running.ended;
        console.log(running.devices.out.take().length);
      });`;
    writeFileSync(join(project, "main.mjs"), program.replace("KIND", 'await import("pktflow")'));
    writeFileSync(join(project, "main.cjs"), program.replace("KIND", 'require("pktflow")'));
    for (const file of ["main.mjs", "main.cjs"])
      expect(node(file)).toMatchObject({ stdout: "1\n", stderr: "", status: 0 });
  });
  test("its types complete what is right and refuse what is wrong, as a module and as CommonJS", () => {
    const text = readFileSync(join(ROOT, "test/support/consumer/flow.ts.txt"), "utf8");
    writeFileSync(join(project, "flow.mts"), text);
    // Top-level await is not CommonJS's, but the types are the same.
    writeFileSync(
      join(project, "flow.cts"),
      `async function main() {\n${text.replace(/^import .*\n/m, "")}}\nmain();\n`.replace(
        /^/,
        text.match(/^import .*\n/m)![0],
      ),
    );
    cpSync(join(ROOT, "node_modules/@types"), join(project, "node_modules/@types"), { recursive: true });
    cpSync(join(ROOT, "node_modules/undici-types"), join(project, "node_modules/undici-types"), {
      recursive: true,
    });
    const options = {
      module: "nodenext",
      target: "es2023",
      strict: true,
      exactOptionalPropertyTypes: true,
      noEmit: true,
      // The least that a program may have: no types of Node.js, no library beyond its target but the console.
      types: [],
      lib: ["es2023", "dom"],
    };
    writeFileSync(
      join(project, "tsconfig.json"),
      JSON.stringify({ compilerOptions: options, files: ["flow.mts", "flow.cts"] }),
    );
    const checked = spawnSync(join(ROOT, "node_modules/.bin/tsc"), ["-p", "."], {
      cwd: project,
      encoding: "utf8",
    });
    expect(checked.stdout).toBe("");
    expect(checked.status).toBe(0);
  });
});
