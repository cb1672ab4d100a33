import { type Diagnostic, renderDiagnostics } from "../config/diagnostics.ts";

/** What is wrong with a filter's sources, module or cases: what was tried, on what, why, and what to do instead. */
export class FilterError extends Error {
  override name = "FilterError";
  /** Places in the filter's sources, where the compiler or the check of the module pointed at some. */
  readonly diagnostics: Diagnostic[];

  /** @param message what there is to say when there are no places; with places, they say it all */
  constructor(message: string, diagnostics: Diagnostic[] = []) {
    super(diagnostics.length > 0 ? renderDiagnostics(diagnostics) : message);
    this.diagnostics = diagnostics;
  }
}
