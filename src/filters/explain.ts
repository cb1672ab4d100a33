/**
 * From "it has data segments" or the compiler's own words to the line that the author wrote, and what to write instead.
 * In: the filter's sources, when its module was refused or did not compile. Out: diagnostics with their places.
 */
import { isAbsolute, relative, resolve, sep } from "node:path";
import { type Diagnostic, Diagnostics } from "../config/diagnostics.ts";
import { Source } from "../config/source.ts";
import type { Isolation } from "../config/types.ts";
import { closest } from "../params/suggest.ts";
import { ENTRY_FILE } from "./entry.ts";
import { isAmbient, KIND, LITERAL, nameOf, parse, pathOf, type Syntax, spanOf, walk } from "./syntax.ts";

const SDK = /^pktflow\/assembly(\/[\w-]+)*$/;

/** Imports of anything but the filter's own files and the SDK. */
export function checkImports(sources: Source[], folder: string): Diagnostic[] {
  const diagnostics = new Diagnostics();
  for (const source of sources) {
    for (const statement of parse(source)) {
      const path = statement["path"] as (Syntax & { value: string }) | null | undefined;
      if (!path || (statement.kind !== KIND.IMPORT && statement.kind !== KIND.EXPORT)) continue;
      if (SDK.test(path.value) || isWithin(folder, source.file, path.value)) continue;
      diagnostics.error(
        spanOf(source, path),
        "import",
        `a filter imports "pktflow/assembly" and files of its own folder ("./..."), not ${JSON.stringify(path.value)}: ` +
          "copy what you need of it into the folder",
      );
    }
  }
  return diagnostics.sorted();
}

function isWithin(folder: string, file: string, imported: string): boolean {
  if (!/^\.\.?\//.test(imported)) return false;
  const from = relative(folder, resolve(file, "..", imported));
  return !isAbsolute(from) && from.split(sep)[0] !== "..";
}

/** What to write instead of a literal that would lie in memory that all filters share. */
const LITERALS: Record<number, [code: string, advice: string]> = {
  [LITERAL.STRING]: [
    "string",
    "a string would lie in memory that all filters share: take text as a parameter (type: string in filter.yaml), " +
      "whose bytes are at params.NAME.address, or compare bytes with load<u8>()",
  ],
  [LITERAL.TEMPLATE]: [
    "string",
    "a string is made by an allocator, and there is none: count with counter() instead",
  ],
  [LITERAL.REGEXP]: ["regexp", "there are no regular expressions here: compare bytes with load<u8>()"],
  [LITERAL.ARRAY]: [
    "array",
    "an array would lie in memory that all filters share: keep the table in the state (workerState() with load and " +
      "store, filled in init()), or take it as a list parameter",
  ],
  [LITERAL.OBJECT]: [
    "object",
    "an object is made by an allocator, and there is none: use an @unmanaged class over the state",
  ],
};
/** Of the host: what has to be imported, and what there is instead. */
const HOST_CALLS: [RegExp, string][] = [
  [
    /^console\.|^trace$/,
    "a filter has no console: log(Logs.name, a, b) says a message of filter.yaml's logs, counter() counts",
  ],
  [
    /^Math\.random$|^NativeMath\.random$|^crypto\./,
    "chance comes from random() and randomBelow(n) of pktflow/assembly",
  ],
  [/^Date\.|^performance\./, "time comes from now() and wallClock() of pktflow/assembly"],
  [
    /^process\./,
    "a filter has no process: what it knows comes from its parameters and from pktflow/assembly",
  ],
];
/** What takes memory, which is no offence where a filter has its own. */
const ALLOCATOR = /^heap\.|^__(new|alloc|renew|pin)$|^memory\.grow$/;
/** Calls that the compiler itself carries out, so that their strings and values never get into the module. */
const AT_COMPILE_TIME = /^(ERROR|WARNING|INFO|sizeof|alignof|offsetof|isDefined|idof)$/;

/** Places that may have made a refused module what it is; none: there is nothing to point at. */
export function explainModule(sources: Source[], isolation: Isolation = "none"): Diagnostic[] {
  const diagnostics = new Diagnostics();
  for (const source of sources) {
    for (const statement of parse(source)) {
      // With a memory of its own it may have all but what the host would have to give.
      if (isolation === "memory") {
        walk(statement, (node) => explainHost(source, node, diagnostics));
        continue;
      }
      explainStart(source, statement, diagnostics);
      walk(statement, (node) => explainNode(source, node, diagnostics));
    }
  }
  return diagnostics.sorted();
}

/** @returns whether to look below */
function explainNode(source: Source, node: Syntax, diagnostics: Diagnostics): boolean {
  const say = (code: string, message: string) => diagnostics.error(spanOf(source, node), code, message);
  switch (node.kind) {
    case KIND.IMPORT:
    case KIND.EXPORT:
    case KIND.DECORATOR:
      return false;
    case KIND.LITERAL: {
      const found = LITERALS[node["literalKind"] as number];
      if (found) say(...found);
      return found === undefined;
    }
    // The compiler makes a trap of it, and drops the error with its text.
    case KIND.THROW:
      return false;
    case KIND.NEW:
      say(
        "new",
        "there is no allocator: lay an @unmanaged class over the state with changetype<Name>(workerState()), " +
          "and give it its values in init()",
      );
      return false;
    case KIND.FUNCTION:
      say(
        "closure",
        "a function as a value is an object in memory: declare it at the top of the file, call it by its name",
      );
      return false;
    case KIND.CALL:
      if (!ALLOCATOR.test(pathOf(node["expression"] as Syntax) ?? ""))
        return explainHost(source, node, diagnostics);
      say("host", "there is no allocator: the state in filter.yaml is all its memory");
      return false;
    case KIND.FUNCTION_DECLARATION:
      return explainHost(source, node, diagnostics);
    default:
      return true;
  }
}

/** What the host would have to give. @returns whether to look below */
function explainHost(source: Source, node: Syntax, diagnostics: Diagnostics): boolean {
  const say = (code: string, message: string) => diagnostics.error(spanOf(source, node), code, message);
  if (node.kind === KIND.FUNCTION_DECLARATION && isAmbient(node)) {
    say(
      "import",
      `${nameOf(node)}() would have to come from the host, and a filter imports nothing but its memory`,
    );
    return false;
  }
  if (node.kind !== KIND.CALL) return true;
  const called = pathOf(node["expression"] as Syntax) ?? "";
  if (AT_COMPILE_TIME.test(called)) return false;
  const host = HOST_CALLS.find(([pattern]) => pattern.test(called));
  if (host) say("host", host[1]);
  return host === undefined;
}

/** What would run before init(): computed values of module-level variables, and statements that are no declarations. */
function explainStart(source: Source, statement: Syntax, diagnostics: Diagnostics): void {
  const computed = (node: Syntax): boolean => {
    let found = false;
    walk(node, ({ kind, expression }) => {
      if (kind !== KIND.CALL) return true;
      found ||= !AT_COMPILE_TIME.test(pathOf(expression as Syntax) ?? "");
      return false;
    });
    return found;
  };
  if (statement.kind === KIND.EXPRESSION_STATEMENT) {
    diagnostics.error(spanOf(source, statement), "start", "nothing runs before init(): move it there");
  }
  if (statement.kind !== KIND.VARIABLE) return;
  for (const declared of statement["declarations"] as Syntax[]) {
    const value = declared["initializer"] as Syntax | null;
    if (!value || !computed(value)) continue;
    const name = nameOf(declared);
    diagnostics.error(
      spanOf(source, value),
      "start",
      `nothing runs before init(): give ${name} a constant value here, and compute it in init()`,
    );
  }
}

interface Compiled {
  index: string;
  /** Texts of what was generated. */
  entry: string;
  params: string;
  own: Source[];
}

/** The compiler's complaints with what to do added, and those about generated text moved to what it was made from. */
export function explain(found: Diagnostic[], compiled: Compiled): Diagnostic[] {
  const diagnostics = new Diagnostics();
  for (const diagnostic of found) {
    const moved = diagnostic.file.endsWith(ENTRY_FILE) ? atExport(diagnostic, compiled) : diagnostic;
    diagnostics.add(advised(moved, compiled.params));
  }
  return diagnostics.sorted();
}

const SIGNATURES: Record<string, string> = {
  packet: "packet(p: Packet): Output",
  batch: "batch(b: Batch): void",
  init: "init(): void",
  initShared: "initShared(): void",
  prepare: "prepare(): void",
  reload: "reload(): void",
  tick: "tick(): void",
  wake: "wake(): void",
  workerStateSize: "workerStateSize(params: usize): usize",
  sharedStateSize: "sharedStateSize(params: usize): usize",
  preparedStateSize: "preparedStateSize(params: usize): usize",
};

/** What the generated entry calls has another signature than it is called with. */
function atExport(diagnostic: Diagnostic, { index, own }: Compiled): Diagnostic {
  const name =
    /filter\.(\w+)\(/.exec(diagnostic.excerpt.slice(Math.max(0, diagnostic.column - 40)))?.[1] ?? "";
  const source = own.find(({ file }) => file === index);
  const declared = source && parse(source).find((statement) => nameOf(statement) === name);
  if (!source || !declared) return diagnostic;
  const diagnostics = new Diagnostics();
  const message = `${name}() is called as ${SIGNATURES[name]}: ${diagnostic.message}`;
  diagnostics.error(spanOf(source, declared["name"] as Syntax), diagnostic.code, message);
  return diagnostics.sorted()[0];
}

const ADVICE: [RegExp, string][] = [
  [/closures?/i, "give the function what it needs as arguments"],
  [/must return a value/, "return OUTPUT_NEXT, OUTPUT_DROP, or an output of filter.yaml (Outputs.name)"],
  [/Exceptions/, "drop and count the packet, or trap with unreachable()"],
];

function advised(diagnostic: Diagnostic, params: string): Diagnostic {
  const missing = /Property '(\w+)' does not exist on type '(?:.*\/)?(Outputs|Counters|params)'/.exec(
    diagnostic.message,
  );
  if (missing) {
    const [, name, of] = missing;
    const known = membersOf(params, of);
    const suggestion = closest(name, known);
    const section = of.toLowerCase();
    const kind = section === "params" ? "parameter" : section.replace(/s$/, "");
    const message =
      `filter.yaml has no ${kind} for ${of}.${name}; ` +
      (known.length > 0 ? `it has ${known.join(", ")}` : "it has none") +
      `: add it under "${section}:"`;
    return {
      ...diagnostic,
      code: `unknown-${kind}`,
      message,
      ...(suggestion ? { suggestion } : {}),
    };
  }
  const set = /\b(Ipv4|Ipv6|Tcp|Udp|Icmp)\b/.exec(diagnostic.excerpt)?.[1];
  if (/read-only property/.test(diagnostic.message)) {
    const raw = set === undefined ? "the Raw views set bytes" : `Raw${set}.of(p) sets bytes`;
    const message = `${diagnostic.message} (setters of a view keep checksums right, so checksums and lengths have none; ${raw} and nothing else)`;
    return { ...diagnostic, message };
  }
  const advice = ADVICE.find(([pattern]) => pattern.test(diagnostic.message));
  return advice ? { ...diagnostic, message: `${diagnostic.message} (${advice[1]})` } : diagnostic;
}

/** Names of a class's members in the generated params.ts. */
export function membersOf(params: string, name: string): string[] {
  const of = parse(new Source("params.ts", params)).find((statement) => nameOf(statement) === name);
  return ((of?.["members"] as Syntax[] | undefined) ?? []).flatMap((member) => nameOf(member) ?? []);
}
