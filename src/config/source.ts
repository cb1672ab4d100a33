/** Text that someone wrote, and places in it. */

/** A file's text, or the --set options as a text of one line each. */
export class Source {
  readonly file: string;
  readonly text: string;
  /** Offsets of the lines' first characters. */
  readonly #lines: number[];

  constructor(file: string, text: string) {
    this.file = file;
    this.text = text;
    this.#lines = [0];
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) this.#lines.push(at + 1);
  }

  /** Line (from 1) and offset in that line (from 0) of an offset in the text. */
  locate(offset: number): { line: number; offset: number } {
    const at = Math.max(0, Math.min(offset, this.text.length));
    let low = 0;
    let high = this.#lines.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#lines[middle] <= at) low = middle;
      else high = middle;
    }
    return { line: low + 1, offset: at - this.#lines[low] };
  }

  /** A line's text without its end. */
  line(line: number): string {
    const end = this.#lines[line] ?? this.text.length + 1;
    return this.text.slice(this.#lines[line - 1], end - 1).replace(/\r$/, "");
  }
}

/** A range of a source: offsets in UTF-16 units, `end` excluded. */
export interface Span {
  source: Source;
  start: number;
  end: number;
}
