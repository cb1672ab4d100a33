/**
 * Long lists whose elements are flow maps of a line each, as the rules of a firewall are:
 *
 *       - { action: accept, proto: tcp, to: [10.0.0.0/8, "2001:db8::/32"], to-port: 443 }   # a comment
 *
 * The YAML parser needs 100 us and a hundred objects for such a line. So runs of them are taken out of the text before it is
 * parsed (a 0 stands for each run, blanks for the rest of it, and all offsets stay), and read here, each line when it is
 * asked for. Lines with anything else in them (anchors, variables, escapes, other quotes) are left to the parser; and where
 * the parser finds a 0 anywhere but as an element of a list, or any error, the whole text is parsed without this.
 */
import type { Source, Span } from "./source.ts";
import type { Entry, ListNode, MapNode, Node, Scalar } from "./tree.ts";

/** A shorter run is not worth it. */
const SHORTEST_RUN = 64;
const KEY = "[a-z][a-z0-9-]*";
/** Words, numbers and IPv4 addresses; what a colon or another sign makes special in YAML is not taken. */
const PLAIN = "[A-Za-z0-9$/_][A-Za-z0-9$/_.-]*(?: [A-Za-z0-9$/_][A-Za-z0-9$/_.-]*)*";
/** ASCII without quotes, escapes and dollars. Variables come disguised as other characters (variables.ts). */
const QUOTED = '"[ !#%-\\[\\]-~]*"';
const SCALAR = `(?:${PLAIN}|${QUOTED})`;
const VALUE = `(?:${SCALAR}|\\[ ?${SCALAR}(?:, ?${SCALAR})* ?\\])`;
const PAIR = `${KEY}: ${VALUE}`;
const LINE = new RegExp(`^( *)- (\\{ ?${PAIR}(?:, ${PAIR})* ?\\})[ ]*(?: #[^\\n\\r]*)?$`);

/** Offsets in the text of a run's lines: of each map's first character, and behind its last. */
export interface Run {
  starts: number[];
  ends: number[];
}

export interface Cut {
  /** As long as the original. */
  text: string;
  /** By the offset of the 0 that stands for it. */
  runs: Map<number, Run>;
}

/** Takes the runs out of a text. */
export function cutRuns(text: string): Cut {
  const runs = new Map<number, Run>();
  const parts: string[] = [];
  let kept = 0;
  let run: Run = { starts: [], ends: [] };
  let indent = -1;
  let lastEnd = 0;
  const finish = () => {
    if (run.starts.length >= SHORTEST_RUN) {
      const [start] = run.starts;
      runs.set(start, run);
      parts.push(text.slice(kept, start), "0", " ".repeat(lastEnd - start - 1));
      kept = lastEnd;
    }
    run = { starts: [], ends: [] };
    indent = -1;
  };
  for (let at = 0; at < text.length; ) {
    const newline = text.indexOf("\n", at);
    const end = newline < 0 ? text.length : newline;
    const match =
      text.charCodeAt(end - 1) === 0x7d || isLong(text, at, end) ? LINE.exec(text.slice(at, end)) : null;
    if (match && hasNoTwins(match[2])) {
      if (match[1].length !== indent) finish();
      indent = match[1].length;
      run.starts.push(at + indent + 2);
      run.ends.push(at + indent + 2 + match[2].length);
      lastEnd = end;
    } else finish();
    at = end + 1;
  }
  finish();
  parts.push(text.slice(kept));
  return { text: parts.join(""), runs };
}

/** May a line that does not end with a brace have a comment behind one? */
function isLong(text: string, at: number, end: number): boolean {
  const brace = text.indexOf("}", at);
  return brace >= 0 && brace < end;
}

function hasNoTwins(map: string): boolean {
  const keys = map.match(KEYS) ?? [];
  return new Set(keys).size === keys.length;
}
const KEYS = /[a-z][a-z0-9-]*(?=: )/g;

/** The maps of a run. @param shift what is to be added to its offsets to get those in the source */
export function runNodes({ starts, ends }: Run, source: Source, shift: number): MapNode[] {
  return starts.map((start, i) => new LineMap(source, start + shift, ends[i] + shift));
}

/** A map that is read from its line each time: a hundred thousand of them kept would be millions of objects. */
class LineMap implements MapNode {
  readonly kind = "map";
  readonly #source: Source;
  readonly #start: number;
  readonly #end: number;

  constructor(source: Source, start: number, end: number) {
    this.#source = source;
    this.#start = start;
    this.#end = end;
  }

  get span(): Span {
    return { source: this.#source, start: this.#start, end: this.#end };
  }

  get entries(): Entry[] {
    const { text } = this.#source;
    const entries: Entry[] = [];
    for (let at = this.#start + 1; ; ) {
      while (text.charCodeAt(at) === SPACE || text.charCodeAt(at) === COMMA) at++;
      if (at >= this.#end - 1) return entries;
      const colon = text.indexOf(":", at);
      const value = this.#value(colon + 2);
      entries.push({ key: text.slice(at, colon), keySpan: this.#span(at, colon), value });
      at = value.span.end;
    }
  }

  /** Without places, which only a diagnostic asks for. */
  plain(): Record<string, unknown> {
    const { text } = this.#source;
    // No key of a line is __proto__, so it needs no object without prototype, which would be several times as large.
    const values: Record<string, unknown> = {};
    for (let at = this.#start + 1; ; ) {
      while (text.charCodeAt(at) === SPACE || text.charCodeAt(at) === COMMA) at++;
      if (at >= this.#end - 1) return values;
      const colon = text.indexOf(":", at);
      const key = text.slice(at, colon);
      at = colon + 2;
      if (text.charCodeAt(at) !== LIST) {
        const end = scalarEnd(text, at);
        values[key] = scalarAt(text, at, end);
        at = end;
        continue;
      }
      const items: Scalar[] = [];
      values[key] = items;
      for (at++; ; ) {
        while (text.charCodeAt(at) === SPACE || text.charCodeAt(at) === COMMA) at++;
        if (text.charCodeAt(at) === LIST_END) break;
        const end = scalarEnd(text, at);
        items.push(scalarAt(text, at, end));
        at = end;
      }
      at++;
    }
  }

  #value(start: number): Node {
    const { text } = this.#source;
    if (text.charCodeAt(start) !== LIST) return this.#scalar(start);
    const items: Node[] = [];
    for (let at = start + 1; ; ) {
      while (text.charCodeAt(at) === SPACE || text.charCodeAt(at) === COMMA) at++;
      if (text.charCodeAt(at) === LIST_END) {
        const list: ListNode = { kind: "list", items, span: this.#span(start, at + 1) };
        return list;
      }
      const item = this.#scalar(at);
      items.push(item);
      at = item.span.end;
    }
  }

  #scalar(start: number): Node {
    const { text } = this.#source;
    const end = scalarEnd(text, start);
    return { kind: "scalar", value: scalarAt(text, start, end), span: this.#span(start, end) };
  }

  #span(start: number, end: number): Span {
    return { source: this.#source, start, end };
  }
}

const [SPACE, QUOTE, COMMA, LIST, LIST_END, MAP_END] = [0x20, 0x22, 0x2c, 0x5b, 0x5d, 0x7d];

/** Behind the last character of a scalar, quotes included. */
function scalarEnd(text: string, start: number): number {
  if (text.charCodeAt(start) === QUOTE) return text.indexOf('"', start + 1) + 1;
  let end = start;
  while (!isEnd(text.charCodeAt(end))) end++;
  while (text.charCodeAt(end - 1) === SPACE) end--;
  return end;
}

function scalarAt(text: string, start: number, end: number): Scalar {
  return text.charCodeAt(start) === QUOTE ? text.slice(start + 1, end - 1) : typed(text.slice(start, end));
}

function isEnd(code: number): boolean {
  return code === COMMA || code === LIST_END || code === MAP_END || Number.isNaN(code);
}

/** What a plain scalar means in YAML 1.2's core schema (10.3.2), for text that the YAML parser did not see. */
export function typed(text: string): Scalar {
  // Most are words or addresses.
  const first = text.charCodeAt(0);
  if (first > 0x39 && !/^[NTFntf~]/.test(text)) return text;
  if (/^(?:|~|null|Null|NULL)$/.test(text)) return null;
  if (/^(?:true|True|TRUE)$/.test(text)) return true;
  if (/^(?:false|False|FALSE)$/.test(text)) return false;
  if (/^[-+]?\d+$/.test(text) || /^0o[0-7]+$/.test(text) || /^0x[0-9a-fA-F]+$/.test(text))
    return Number(text);
  if (/^[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?$/.test(text)) return Number(text);
  return text;
}
