/** What is wrong with a filter's sources, module or cases: what was tried, on what, why, and what to do instead. */
export class FilterError extends Error {
  override name = "FilterError";
  /** The compiler's complaints, if it was the compiler that refused. */
  readonly diagnostics: FilterDiagnostic[];

  constructor(message: string, diagnostics: FilterDiagnostic[] = []) {
    super(message);
    this.diagnostics = diagnostics;
  }
}

/** One complaint of the AssemblyScript compiler. Lines and columns count from 1. */
export interface FilterDiagnostic {
  file: string;
  line: number;
  column: number;
  /** The compiler's code, e.g. "AS100" or "TS2304". */
  code: string;
  message: string;
}
