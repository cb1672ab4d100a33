/**
 * Filters from AssemblyScript to Wasm. In: a filter's folder and its manifest; out: a module on disk, checked.
 * A module says in a custom section what it was made of, so nothing is compiled twice.
 *
 * Where modules go: build/wasm/filters/NAME.wasm for the built-in ones; for a user's, the folder
 * $XDG_CACHE_HOME/pktflow/filters (~/.cache/pktflow/filters), so that sources may lie on a read-only file system and
 * nothing appears beside them. The generated params.ts lies beside each module, to be read.
 */
import { createHash, randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { basename, dirname, join, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { Diagnostics } from "../config/diagnostics.ts";
import { NotRegular, readRegularFile } from "../config/regular-file.ts";
import { Source } from "../config/source.ts";
import type { Isolation } from "../config/types.ts";
import { customSection, withCustomSection } from "./binary.ts";
import { C_SOURCE, type CompiledC, clangVersion, FLAGS } from "./build-c.ts";
import { checkModule } from "./check.ts";
import { entryTexts } from "./entry-text.ts";
import { FilterError } from "./error.ts";

/** The package's own folder: src/filters and build/filters are equally deep. */
export const PACKAGE = fileURLToPath(new URL("../../", import.meta.url));
const SDK = join(PACKAGE, "assembly");
/** Folder of the built-in filters. */
export const BUILTIN = join(SDK, "filters");
/** The compiler's options: of filters in the pipeline's memory, and of those with one of their own. */
const OPTIONS = join(PACKAGE, "asconfig.json");
const ISOLATED_OPTIONS = join(SDK, "isolated", "asconfig.json");
const WASM = join(PACKAGE, "build", "wasm");
/** Custom section: the hash of what the module was made of. */
const STAMP = "pktflow-made-of";
/** Custom section: the files from elsewhere that its source includes, as JSON. */
const INCLUDED = "pktflow-included";

export interface BuildResult {
  /** Path of the module. */
  wasm: string;
  /** It was there already, made of the same sources. */
  cached: boolean;
}

/** Folders of the built-in filters, in the order of their names. */
export function builtinFilters(): string[] {
  return readdirSync(BUILTIN)
    .filter((name) => existsSync(join(BUILTIN, name, "index.ts")))
    .sort()
    .map((name) => join(BUILTIN, name));
}

/** Is it one of the package's own? @param location absolute path of a filter's folder or module */
export function isBuiltin(location: string): boolean {
  return dirname(location) === BUILTIN;
}

/** Where a filter's module belongs. */
export function wasmPath(folder: string, isolation: Isolation = "none"): string {
  if (isolation === "memory") return wasmPath(folder).replace(/\.wasm$/, ".isolated.wasm");
  if (isBuiltin(folder)) return join(WASM, "filters", `${basename(folder)}.wasm`);
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  const place = createHash("sha256").update(folder).digest("hex").slice(0, 16);
  return join(cache, "pktflow", "filters", `${basename(folder)}-${place}.wasm`);
}

/**
 * Compiles a filter, unless its module is up to date.
 * @param folder absolute path, with index.ts, or with filter.c
 * @param params text of the generated params.ts, or params.h
 * @param namesOutputs its parameters may name outputs that its filter.yaml does not, so that any number may be one
 * @throws FilterError with the places in its sources that the compiler or the check of the module objects to
 */
export async function buildFilter(
  folder: string,
  params: string,
  isolation: Isolation = "none",
  namesOutputs = true,
): Promise<BuildResult> {
  const wasm = wasmPath(folder, isolation);
  const isC = isFilterInC(folder);
  const sources = sourceTexts(folder, isC ? /\.[ch]$/ : /\.ts$/);
  const all = [isolation, params, ...sources, ...(isC ? cSdkTexts() : sdkTexts())];
  const stamp = (included: string[]) => hash([...all, ...included.flatMap((file) => [file, textOf(file)])]);
  if (isUpToDate(wasm, stamp)) return { wasm, cached: true };
  const { bytes, included } = isC
    ? await compileFilterInC(folder, params)
    : { bytes: await compileFilter(folder, params, isolation, namesOutputs), included: [] };
  writeWhole(wasm.replace(/\.wasm$/, isC ? ".params.h" : ".params.ts"), params);
  const stamped = withCustomSection(bytes, STAMP, stamp(included));
  writeWhole(wasm, withCustomSection(stamped, INCLUDED, JSON.stringify(included)));
  return { wasm, cached: false };
}

/** Is the module made of what there is now? @param stamp hash of all of it, given the files from elsewhere that it includes */
function isUpToDate(wasm: string, stamp: (included: string[]) => string): boolean {
  const made = sectionOf(wasm, STAMP);
  return made !== undefined && made === stamp(JSON.parse(sectionOf(wasm, INCLUDED) ?? "[]") as string[]);
}

/** "": it is not there any more. */
function textOf(file: string): string {
  return existsSync(file) ? sourceText(file) : "";
}

/** Its source is filter.c rather than index.ts. */
export function isFilterInC(folder: string): boolean {
  return existsSync(join(folder, C_SOURCE)) && !existsSync(join(folder, "index.ts"));
}

async function compileFilterInC(folder: string, params: string): Promise<CompiledC> {
  const { compileC } = await import("./build-c.ts");
  const compiled = compileC(folder, params, join(SDK, "c"));
  checkModule(compiled.bytes, join(folder, C_SOURCE), "memory");
  return compiled;
}

async function compileFilter(
  folder: string,
  params: string,
  isolation: Isolation,
  namesOutputs: boolean,
): Promise<Uint8Array> {
  const { ENTRY_FILE, generateEntry } = await import("./entry.ts");
  const { checkImports, explain, explainModule, membersOf } = await import("./explain.ts");
  const index = join(folder, "index.ts");
  const named = membersOf(params, "Outputs");
  const outputs = named.length === 0 || namesOutputs ? undefined : named;
  const entry = generateEntry(new Source(index, readSource(index)), isolation, isBuiltin(folder), outputs);
  const sources = new Map<string, Source>();
  const given = new Map([
    [join(folder, "params.ts"), params],
    [join(folder, ENTRY_FILE), entry],
  ]);
  try {
    if (isolation === "memory") given.set(OPTIONS, readSource(ISOLATED_OPTIONS));
    const bytes = await compile(folder, ENTRY_FILE, given, sources);
    checkModule(bytes, index, isolation);
    return bytes;
  } catch (error) {
    if (!(error instanceof FilterError)) throw error;
    for (const path of given.keys()) sources.delete(path);
    const own = [...sources.values()].filter(({ file }) => file.startsWith(folder + sep));
    const imports = checkImports(own, folder);
    if (imports.length > 0) throw new FilterError(error.message, imports);
    if (error.diagnostics.length === 0) throw new FilterError(error.message, explainModule(own, isolation));
    throw new FilterError(error.message, explain(error.diagnostics, { index, entry, params, own }));
  }
}

/** Compiles core.wasm (assembly/core), unless it is up to date. */
export async function buildCore(): Promise<BuildResult> {
  const folder = join(SDK, "core");
  const wasm = join(WASM, "core.wasm");
  const stamp = hash([...sourceTexts(folder), ...sdkTexts()]);
  if (sectionOf(wasm, STAMP) === stamp) return { wasm, cached: true };
  const bytes = await compile(folder, "index.ts", new Map());
  writeWhole(wasm, withCustomSection(bytes, STAMP, stamp));
  return { wasm, cached: false };
}

/**
 * One run of the compiler with the options of asconfig.json.
 * @param folder absolute path of the sources' folder
 * @param entry name in it of the module to start from
 * @param given texts by absolute path, of files that are not on disk
 * @param read gets every file that the compiler read
 * @throws FilterError with the compiler's diagnostics
 */
export async function compile(
  folder: string,
  entry: string,
  given: Map<string, string>,
  read = new Map<string, Source>(),
): Promise<Uint8Array> {
  const asc = await import("assemblyscript/asc");
  const diagnostics = new Diagnostics();
  let output: Uint8Array | undefined;
  const sink = { write: () => true };
  const { error } = await asc.main([entry, "--baseDir", folder, "--outFile", "output.wasm"], {
    stdout: sink,
    stderr: sink,
    readFile: (name, baseDir) => {
      const path = locate(resolve(baseDir, name), folder);
      if (path === undefined) return null;
      const text = given.get(path) ?? (existsSync(path) ? readFileSync(path, "utf8") : null);
      if (text !== null) read.set(path, new Source(path, text));
      return text;
    },
    writeFile: (_name, contents) => {
      output = contents as Uint8Array;
    },
    listFiles: () => null,
    reportDiagnostic: (found) => {
      const { range, code, message, category } = found as unknown as CompilerMessage;
      if (category !== ERROR_CATEGORY) return;
      const file = range ? fileOf(range.source.normalizedPath, folder) : join(folder, entry);
      const name = `${code < 1000 ? "AS" : "TS"}${code}`;
      const source = read.get(file);
      if (range && source) diagnostics.error({ source, start: range.start, end: range.end }, name, message);
      else diagnostics.failed(file, name, message);
    },
  });
  if (output !== undefined && error === null) return output;
  const why = error?.message ?? "no output";
  throw new FilterError(`compiling ${folder} failed: ${why}`, diagnostics.sorted());
}

const ERROR_CATEGORY = 3;
interface CompilerMessage {
  code: number;
  category: number;
  message: string;
  range: { start: number; end: number; source: { normalizedPath: string } } | null;
}

/**
 * Which file the compiler means. A filter sees its own folder and "pktflow/assembly", nothing else: a second way to the
 * SDK's files would give it a second contextAddress, and sources elsewhere would escape the stamp.
 */
function locate(path: string, folder: string): string | undefined {
  const sdk = path.lastIndexOf(join(sep, "node_modules", "pktflow", "assembly"));
  if (sdk >= 0) return join(PACKAGE, path.slice(sdk + join(sep, "node_modules", "pktflow").length));
  if (path === join(folder, "asconfig.json")) return OPTIONS;
  if (path.startsWith(folder + sep) || folder.startsWith(join(SDK, "core"))) return path;
  return undefined;
}

function fileOf(normalizedPath: string, folder: string): string {
  const sdk = "~lib/pktflow/";
  if (normalizedPath.startsWith(sdk)) return join(PACKAGE, normalizedPath.slice(sdk.length));
  return normalizedPath.startsWith("~lib/") ? normalizedPath : resolve(folder, normalizedPath);
}

function readSource(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new FilterError(`reading ${path}: ${(error as NodeJS.ErrnoException).code ?? error}`);
  }
}

/** Names and texts of every source file under a folder, sorted. */
function sourceTexts(folder: string, ending = /\.ts$/): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => ending.test(name) && !/(^|[/])(node_modules|[.][^/]*)[/]/.test(name))
    .sort()
    .flatMap((name) => [name, sourceText(join(folder, name))]);
}

/** Read for the stamp and again by the compiler, on the main thread. */
function sourceText(path: string): string {
  try {
    return readRegularFile(path).toString("utf8");
  } catch (error) {
    throw error instanceof NotRegular ? new FilterError(`reading ${path}: ${error.message}`) : error;
  }
}

function cSdkTexts(): string[] {
  return [clangVersion(), ...FLAGS, ...sourceTexts(join(SDK, "c"), /\.h$/)];
}

let sdk: string[] | undefined;
function sdkTexts(): string[] {
  sdk ??= [
    ...entryTexts(),
    readFileSync(OPTIONS, "utf8"),
    readFileSync(ISOLATED_OPTIONS, "utf8"),
    readFileSync(createRequire(import.meta.url).resolve("assemblyscript/package.json"), "utf8"),
    ...["abi", "core", "lib", "wire"].flatMap((name) => sourceTexts(join(SDK, name))),
    readFileSync(join(SDK, "index.ts"), "utf8"),
  ];
  return sdk;
}

function hash(texts: string[]): string {
  const sum = createHash("sha256");
  for (const text of texts) sum.update(`${text.length}:`).update(text);
  return sum.digest("hex");
}

function sectionOf(wasm: string, name: string): string | undefined {
  if (!existsSync(wasm)) return undefined;
  try {
    return customSection(readFileSync(wasm), name);
  } catch (error) {
    // A module cut short by a crash is made again.
    if (error instanceof FilterError) return undefined;
    throw error;
  }
}

/** Writes beside and renames, so that nobody reads half a file. */
function writeWhole(path: string, content: string | Uint8Array): void {
  const beside = `${path}.${randomUUID()}`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(beside, content);
    renameSync(beside, path);
  } catch (error) {
    if (existsSync(beside)) rmSync(beside);
    throw new FilterError(
      `writing ${path}: ${(error as NodeJS.ErrnoException).code ?? error}: ` +
        "set XDG_CACHE_HOME to a folder that can be written for filters outside of the package",
    );
  }
}
