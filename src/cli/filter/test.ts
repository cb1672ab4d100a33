/** `pktflow filter test`: a line a case, and what differs in those that fail. */
import { readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import colors from "picocolors";
import { readWholeCapture } from "../../devices/pcap/whole.ts";
import { type Case, readCases } from "../../filters/cases.ts";
import { findFilter, shownPath } from "../../filters/catalog.ts";
import { differentBytes, differentFields } from "../../filters/diff.ts";
import { FilterError } from "../../filters/error.ts";
import { loadFilter } from "../../filters/library.ts";
import type { Failure } from "../../filters/runner.ts";
import { writeEditorParams } from "../../filters/scaffold.ts";
import { generateParams } from "../../params/generate.ts";
import { Aborted, Trial } from "../../workers/trial.ts";
import { EXIT, errorText } from "../exit.ts";
import { table } from "../format.ts";

/** How often --watch looks. Looking at a few files is cheap, and sees what happens while the cases run. ms */
const LOOK = 250;

/** @param signal calls it off: what is left of the cases is not run @returns the exit status @throws FilterError, ConfigError, Aborted */
export async function test(name: string, signal?: AbortSignal): Promise<number> {
  const manifest = findFilter(name);
  if (manifest.location.endsWith(".wasm"))
    throw new FilterError(`${name} has no cases.yaml: test wants the folder`);
  writeEditorParams(manifest.location, generateParams(manifest));
  const { bytes } = await loadFilter(manifest);
  let failed = 0;
  const cases = readCases(manifest.location, readWholeCapture);
  const trial = new Trial(bytes);
  try {
    for (const one of cases) {
      const failures = await trial.examine(one, signal);
      if (failures.length > 0) failed++;
      process.stdout.write(caseText(one, failures, manifest.location));
    }
  } finally {
    await trial.close();
  }
  const passed = `${cases.length - failed} of ${cases.length} cases pass`;
  process.stdout.write(`\n${failed === 0 ? colors.green(passed) : colors.red(passed)}\n`);
  return failed === 0 ? EXIT.OK : EXIT.FAILED;
}

function caseText(one: Case, failures: Failure[], location: string): string {
  const purpose = one.purpose.trim();
  if (failures.length === 0) return `${colors.green("ok  ")} ${purpose}\n`;
  const place = `${shownPath(one.file)}:${one.line}`;
  const head = `${colors.red("FAIL")} ${purpose} (${dirname(one.file) === location ? place : one.file})`;
  return `${[head, ...failures.map(failureText)].join("\n")}\n`;
}

/** `packet 2: differs from byte 8`, then the fields and the bytes. */
function failureText({ text, bytes }: Failure): string {
  if (bytes === undefined) return `       ${text}`;
  const { actual, expected, layer } = bytes;
  const fields = differentFields(actual, expected, layer).map((field) => [
    field.name,
    field.expected,
    field.actual,
  ]);
  const lengths =
    actual.length === expected.length ? "" : ` and is ${actual.length} bytes long, not ${expected.length}`;
  const lines = [
    ...table(["field", "expected", "got"], fields, 3).split("\n"),
    "",
    ...differentBytes(actual, expected),
  ];
  return [`       ${text}${lengths}`, ...lines.map((line) => `         ${line}`.trimEnd())].join("\n");
}

/** Runs the cases now and at every change in the filter's folder, until SIGINT or SIGTERM. @returns the last status */
export async function watch(name: string): Promise<number> {
  const { location } = findFilter(name);
  let wake = () => {};
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      stop.abort();
      wake();
    });
  }
  let seen = "";
  let status: number = EXIT.OK;
  while (!stop.signal.aborted) {
    const now = stateOf(location);
    if (now !== seen) {
      if (seen !== "") process.stdout.write("\n");
      seen = now;
      status = await attempt(name, stop.signal, status);
    }
    await new Promise<void>((resolve) => {
      wake = resolve;
      if (stop.signal.aborted) resolve();
      else setTimeout(resolve, LOOK);
    });
  }
  return status;
}

/** Names, sizes and times of a folder's files; hidden ones are not its author's. */
function stateOf(folder: string): string {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return names
    .filter((name) => !/(^|\/)(\.|node_modules)/.test(name))
    .map((name) => {
      const stat = statSync(join(folder, name), { throwIfNoEntry: false });
      return `${name} ${stat?.size} ${stat?.mtimeMs}`;
    })
    .sort()
    .join("\n");
}

/** One run under --watch: what is wrong is printed, and mended while it is watched. */
async function attempt(name: string, signal: AbortSignal, before: number): Promise<number> {
  try {
    return await test(name, signal);
  } catch (error) {
    if (error instanceof Aborted) return before;
    process.stderr.write(errorText(error));
    return EXIT.USAGE;
  }
}
