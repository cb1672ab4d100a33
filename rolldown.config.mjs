/**
 * `npm run build`: from src to build/bundle, which is what a package has and `pktflow` runs: few files, for Node.js takes a
 * millisecond a module, and again in every thread (bench/README.md, "To the first packet"). The libraries that a run
 * needs are in there, but for those that are not JavaScript alone, or are loaded late.
 *
 * The tree that tsc leaves in build is the same code a file a module, for tests and benchmarks, and has the types.
 */
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "rolldown";

const ROOT = import.meta.dirname;

/** Started by their file names, which is why all lie in one folder, one level below build as their sources are below src. */
const ENTRIES = {
  main: "cli/main",
  index: "library/index",
  worker: "workers/worker",
  "trial-thread": "workers/trial-thread",
  host: "lab/host",
  spawner: "lab/spawner",
  exec: "lab/exec",
  sender: "bench/sender",
  mover: "bench/mover",
  prober: "bench/prober",
  "chain-worker": "bench/chain-worker",
};

/**
 * What is loaded together stands together. A module goes where its letters say, one for each of these that needs it
 * when it starts: the command line before it knows its command, what starts threads (before all else), a pipeline's
 * thread, its main thread.
 */
const STARTS = {
  m: ["cli/main"],
  t: ["workers/pool"],
  w: ["workers/worker"],
  p: ["workers/pipeline", "config/pipeline", "library/index"],
};

const idOf = (source) => join(ROOT, "src", `${source}.ts`);

/** Modules that loading a source loads, by what the bundler knows of them. */
function loadedWith(sources, graph) {
  const seen = new Set();
  const visit = (id) => {
    if (seen.has(id)) return;
    seen.add(id);
    for (const next of graph.getModuleInfo(id)?.importedIds ?? []) visit(next);
  };
  for (const source of sources) visit(idOf(source));
  return seen;
}

let sets;
function group(id, context) {
  // An entry runs when its file is loaded.
  if (id === idOf("cli/main")) return null;
  sets ??= Object.entries(STARTS).map(([letter, sources]) => [letter, loadedWith(sources, context)]);
  const letters = sets.filter(([, set]) => set.has(id)).map(([letter]) => letter);
  return letters.length === 0 ? null : `part-${letters.join("")}`;
}

/** The licences of what is in the bundle want to be where it is. */
const licences = {
  name: "licences",
  generateBundle(_options, bundle) {
    const packages = new Set();
    for (const { modules } of Object.values(bundle)) {
      for (const id of Object.keys(modules ?? {})) {
        const folder = /^.*[/]node_modules[/](?:@[^/]+[/])?[^/]+/.exec(id)?.[0];
        if (folder !== undefined) packages.add(folder);
      }
    }
    const texts = [...packages].sort().map((folder) => {
      const file = readdirSync(folder).find((name) => /^licen[cs]e/i.test(name));
      if (file === undefined) throw new Error(`${folder}: has no licence`);
      const { name, version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
      return `${name} ${version}\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
    });
    this.emitFile({ type: "asset", fileName: "LICENSES.txt", source: texts.join(`\n${"-".repeat(80)}\n\n`) });
  },
};

// What an earlier build left would be packed with the rest.
rmSync(join(ROOT, "build", "bundle"), { recursive: true, force: true });

export default defineConfig({
  input: Object.fromEntries(Object.entries(ENTRIES).map(([name, source]) => [name, idOf(source)])),
  platform: "node",
  external: ["koffi", "piscina", /^assemblyscript/],
  // Its ES modules rather than those for CommonJS: what is not used is left out.
  resolve: { alias: { yaml: join(ROOT, "node_modules/yaml/browser/dist/index.js") } },
  plugins: [licences],
  output: {
    dir: join(ROOT, "build", "bundle"),
    format: "esm",
    sourcemap: true,
    entryFileNames: "[name].js",
    chunkFileNames: "[name]-[hash].js",
    codeSplitting: { groups: [{ name: group, debugName: "part", includeDependenciesRecursively: false }] },
  },
});
