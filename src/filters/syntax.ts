/** AssemblyScript's syntax tree, as far as it is read here: positions of what a filter's author wrote. */
import * as assemblyscript from "assemblyscript";
import { type Diagnostic, Diagnostics } from "../config/diagnostics.ts";
import type { Source, Span } from "../config/source.ts";

/** A node of the parser's, with whatever fields its kind has. */
export interface Syntax {
  kind: number;
  range: { start: number; end: number };
  [field: string]: unknown;
}

/** Kinds of nodes (NodeKind of the compiler, whose enum does not exist at run time). */
export const KIND = {
  IDENTIFIER: 7,
  CALL: 10,
  FUNCTION: 15,
  LITERAL: 17,
  NEW: 18,
  RETURN: 44,
  PROPERTY_ACCESS: 22,
  EXPORT: 36,
  EXPRESSION_STATEMENT: 39,
  IMPORT: 43,
  THROW: 46,
  VARIABLE: 48,
  FUNCTION_DECLARATION: 56,
  VARIABLE_DECLARATION: 62,
  DECORATOR: 63,
} as const;
export const LITERAL = { INTEGER: 1, STRING: 2, TEMPLATE: 3, REGEXP: 4, ARRAY: 5, OBJECT: 6 } as const;

const ERROR_CATEGORY = 3;

/** What keeps a source from being read as a program at all, in the compiler's words. */
export function syntaxErrors(source: Source): Diagnostic[] {
  const program = assemblyscript.newProgram(assemblyscript.newOptions());
  assemblyscript.parse(program, source.text, source.file, true);
  const diagnostics = new Diagnostics();
  for (;;) {
    const found = assemblyscript.nextDiagnostic(program);
    if (!found) return diagnostics.sorted();
    const { code, message, range, category } = found as unknown as {
      code: number;
      message: string;
      category: number;
      range: { start: number; end: number } | null;
    };
    if (category !== ERROR_CATEGORY || !range) continue;
    const name = `${code < 1000 ? "AS" : "TS"}${code}`;
    diagnostics.error({ source, start: range.start, end: range.end }, name, message);
  }
}

/** The statements of a source, whatever else is wrong with it. */
export function parse(source: Source): Syntax[] {
  const program = assemblyscript.newProgram(assemblyscript.newOptions());
  assemblyscript.parse(program, source.text, source.file, true);
  return program.sources.flatMap(({ statements }) => statements as unknown as Syntax[]);
}

export function isExported(node: Syntax): boolean {
  return (((node["flags"] as number | undefined) ?? 0) & assemblyscript.CommonFlags.Export) !== 0;
}

/** Is it declared only, so that the host would have to give it? */
export function isAmbient(node: Syntax): boolean {
  return (((node["flags"] as number | undefined) ?? 0) & assemblyscript.CommonFlags.Ambient) !== 0;
}

export function spanOf(source: Source, { range }: Syntax): Span {
  return { source, start: range.start, end: range.end };
}

/** The name that a declaration or an identifier has. */
export function nameOf(node: Syntax): string | undefined {
  return (node["name"] as { text?: string } | undefined)?.text;
}

/** `a.b.c` or `a` as text; undefined: it is another expression. */
export function pathOf(node: Syntax): string | undefined {
  if (node.kind === KIND.IDENTIFIER) return node["text"] as string;
  if (node.kind !== KIND.PROPERTY_ACCESS) return undefined;
  const before = pathOf(node["expression"] as Syntax);
  return before && `${before}.${(node["property"] as { text: string }).text}`;
}

/** Calls `visit` for a node and all below it; what it returns false for is not entered. */
export function walk(node: Syntax, visit: (node: Syntax) => boolean): void {
  if (!visit(node)) return;
  for (const [field, value] of Object.entries(node)) {
    if (field === "range") continue;
    for (const below of Array.isArray(value) ? value : [value]) {
      if (typeof below === "object" && below !== null && typeof below.kind === "number" && below.range) {
        walk(below, visit);
      }
    }
  }
}
