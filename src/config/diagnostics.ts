/** What is wrong with a file, where, and what was probably meant; collected, sorted, and printed with the line at fault. */
import type { Span } from "./source.ts";

export interface Diagnostic {
  file: string;
  /** From 1; 0: the file as a whole (it could not be read). */
  line: number;
  /** Character in the line, from 1: code points, not bytes or UTF-16 units. */
  column: number;
  /** Characters that are wrong, at least 1; a range of several lines counts to the end of its first. */
  length: number;
  code: string;
  message: string;
  suggestion?: string;
  /** The line itself, for whoever shows the diagnostic without having the file. */
  excerpt: string;
  /** It can be run as it is. */
  severity?: "warning";
}

export class ConfigError extends Error {
  readonly diagnostics: Diagnostic[];

  constructor(diagnostics: Diagnostic[]) {
    super(renderDiagnostics(diagnostics));
    this.name = "ConfigError";
    this.diagnostics = diagnostics;
  }
}

/** Collects diagnostics; the same one at the same place counts once (a YAML alias brings a node to several places). */
export class Diagnostics {
  #found = new Map<string, { diagnostic: Diagnostic; source: number; offset: number }>();
  #sources: string[] = [];
  #settled: Span[] = [];
  /** Where somebody wants to know: who looks for what is only odd takes time. */
  readonly onWarning: ((warning: Diagnostic) => void) | undefined;

  constructor(onWarning?: (warning: Diagnostic) => void) {
    this.onWarning = onWarning;
  }

  get empty(): boolean {
    return this.#found.size === 0;
  }

  /** There is nothing more to say about this range: whatever is wrong with it follows from what was said. */
  settle(span: Span): void {
    this.#settled.push(span);
  }

  error(span: Span, code: string, message: string, suggestion?: string): void {
    const { source, start, end } = span;
    if (this.#settled.some((s) => s.source === source && s.start === start && s.end === end)) return;
    this.add(
      { ...diagnosticAt(span, code, message), ...(suggestion === undefined ? {} : { suggestion }) },
      start,
    );
  }

  warn(span: Span, code: string, message: string): void {
    this.onWarning?.({ ...diagnosticAt(span, code, message), severity: "warning" });
  }

  /** A diagnostic without a place in the text. */
  failed(file: string, code: string, message: string): void {
    this.add({ file, line: 0, column: 0, length: 0, code, message, excerpt: "" }, -1);
  }

  add(diagnostic: Diagnostic, offset = diagnostic.line * 1e6 + diagnostic.column): void {
    const { file, line, column, code, message } = diagnostic;
    const key = JSON.stringify([file, line, column, code, message]);
    if (this.#found.has(key)) return;
    if (!this.#sources.includes(file)) this.#sources.push(file);
    this.#found.set(key, { diagnostic, source: this.#sources.indexOf(file), offset });
  }

  /** Files in the order in which they were first at fault; in each, from top to bottom. */
  sorted(): Diagnostic[] {
    const byPlace = [...this.#found.values()].sort((a, b) => a.source - b.source || a.offset - b.offset);
    return byPlace.map((found) => found.diagnostic);
  }
}

function diagnosticAt(span: Span, code: string, message: string): Diagnostic {
  const { source, start, end } = span;
  const { line, offset } = source.locate(start);
  const excerpt = source.line(line);
  const onLine = excerpt.slice(offset, offset + Math.max(0, end - start)).trimEnd();
  return {
    file: source.file,
    line,
    column: [...excerpt.slice(0, offset)].length + 1,
    length: Math.max(1, [...onLine].length),
    code,
    message,
    excerpt,
  };
}

export function renderDiagnostics(diagnostics: Diagnostic[]): string {
  return diagnostics.map(renderDiagnostic).join("\n");
}

/**
 *   file:line:column error code: message
 *     12 | the line at fault
 *        |          ^^^^^ did you mean "fault"?
 */
export function renderDiagnostic(diagnostic: Diagnostic): string {
  const { file, line, column, code, message, suggestion, severity = "error" } = diagnostic;
  if (line === 0) return `${file} error ${code}: ${message}`;
  const characters = [...diagnostic.excerpt].map((character) =>
    isControl(character) ? "\uFFFD" : character,
  );
  const { from, to } = window(characters.length, column - 1, diagnostic.length);
  const before = characters.slice(from, column - 1);
  const marked = characters.slice(column - 1, Math.min(to, column - 1 + diagnostic.length));
  const head = from > 0 ? "…" : "";
  const tail = to < characters.length ? "…" : "";
  const number = String(line).padStart(4);
  // A tab is repeated, so that the caret is under its character wherever the terminal's tab stops are.
  const indent = before.map((c) => (c === "\t" ? "\t" : " ".repeat(cells(c)))).join("") + (head && " ");
  const carets = "^".repeat(
    Math.max(
      1,
      marked.reduce((sum, c) => sum + cells(c), 0),
    ),
  );
  const hint = suggestion === undefined ? "" : ` did you mean ${JSON.stringify(suggestion)}?`;
  return [
    `${file}:${line}:${column} ${severity} ${code}: ${message}`,
    `${number} | ${head}${characters.slice(from, to).join("")}${tail}`,
    `${" ".repeat(number.length)} | ${indent}${carets}${hint}`,
  ].join("\n");
}

/** The part of a long line to show: the marked characters with room around them. */
function window(length: number, start: number, marked: number): { from: number; to: number } {
  if (length <= 160) return { from: 0, to: length };
  const from = start < 120 ? 0 : start - 60;
  return { from, to: Math.min(length, Math.max(from + 160, Math.min(start + marked, start + 100))) };
}

/** Terminal columns of a character: 2 for East Asian wide ones and emoji, 0 for those that join the one before. */
function cells(character: string): number {
  if (/^(?:\p{Mn}|\p{Me}|\p{Cf})$/u.test(character)) return 0;
  const wide =
    /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\u3000-\u303E\uFF01-\uFF60\uFFE0-\uFFE6]$/u;
  return wide.test(character) ? 2 : 1;
}

/** What would move the cursor, change colours or reorder the text of whoever reads an untrusted file's excerpt. */
function isControl(character: string): boolean {
  return character !== "\t" && /^[\p{Cc}\p{Bidi_Control}\p{Cs}]$/u.test(character);
}
