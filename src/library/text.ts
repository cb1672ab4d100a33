/**
 * A pipeline that was written as an object, as the text of a pipeline file: the checker then says the same as it does of
 * a file, and where in the object it is.
 */

/** Values as they may stand in a pipeline file. */
type Value =
  | undefined
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly Value[]
  | { [key: string]: Value };

export interface Text {
  text: string;
  /** Where in the object the character at `line` and `column` (from 1) comes from: "filters.firewall.rules[3].proto". */
  placeAt(line: number, column: number): string;
}

/** @throws TypeError for what no file can say: a function, a cycle, a Map */
export function textOf(definition: object): Text {
  const writer = new Writer();
  writer.block(definition as { [key: string]: Value }, 0, "");
  return {
    text: writer.lines.join("\n") + "\n",
    placeAt: (line, column) => {
      let place = "";
      for (const mark of writer.marks) {
        if (mark.line > line || (mark.line === line && mark.column > column)) break;
        place = mark.place;
      }
      return place;
    },
  };
}

/** Maps down to this depth are blocks, a line an entry; what is in them is written as flow maps. */
const BLOCK_DEPTH = 2;

class Writer {
  readonly lines: string[] = [];
  /** In the order of the text. */
  readonly marks: { line: number; column: number; place: string }[] = [];
  private readonly open = new Set<object>();

  block(map: { [key: string]: Value }, depth: number, place: string): void {
    this.enter(map, place);
    const indent = "  ".repeat(depth);
    for (const [name, value] of entries(map)) {
      const inner = place === "" ? name : `${place}.${name}`;
      const head = `${indent}${key(name)}:`;
      this.mark(indent.length, inner);
      if (isMap(value) && depth < BLOCK_DEPTH && entries(value).length > 0) {
        this.lines.push(head);
        this.block(value, depth + 1, inner);
      } else if (Array.isArray(value) && value.length > 0 && value.every(isMap)) {
        // A line an element: the reader of long lists knows those.
        this.lines.push(head);
        this.enter(value, inner);
        value.forEach((element: Value, i) => {
          this.lines.push(this.flow(element, `${indent}  - `, `${inner}[${i}]`));
        });
        this.open.delete(value);
      } else {
        this.lines.push(this.flow(value, `${head} `, inner));
      }
    }
    this.open.delete(map);
  }

  /** @param before what stands on the line already @returns it with the value */
  private flow(value: Value, before: string, place: string): string {
    this.mark([...before].length, place);
    if (Array.isArray(value)) {
      this.enter(value, place);
      let line = `${before}[`;
      value.forEach((element: Value, i) => {
        line = this.flow(element, i === 0 ? line : `${line}, `, `${place}[${i}]`);
      });
      this.open.delete(value);
      return `${line}]`;
    }
    if (isMap(value)) {
      this.enter(value, place);
      let line = `${before}{ `;
      entries(value).forEach(([name, element], i) => {
        const start = i === 0 ? line : `${line}, `;
        this.mark([...start].length, `${place}.${name}`);
        line = this.flow(element, `${start}${key(name)}: `, `${place}.${name}`);
      });
      this.open.delete(value);
      return line === `${before}{ ` ? `${before}{}` : `${line} }`;
    }
    return `${before}${scalar(value, place)}`;
  }

  private mark(column: number, place: string): void {
    this.marks.push({ line: this.lines.length + 1, column: column + 1, place });
  }

  private enter(value: object, place: string): void {
    if (this.open.has(value)) throw new TypeError(`${place}: the pipeline's definition contains itself`);
    this.open.add(value);
  }
}

function isMap(value: Value): value is { [key: string]: Value } {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** What is undefined is as if it were not there. */
function entries(map: { [key: string]: Value }): [string, Value][] {
  return Object.entries(map).filter(([, value]) => value !== undefined);
}

function scalar(value: Value, place: string): string {
  if (value === null || typeof value === "boolean" || typeof value === "bigint") return String(value);
  if (typeof value === "number") {
    return Number.isFinite(value)
      ? String(value)
      : value > 0
        ? ".inf"
        : Number.isNaN(value)
          ? ".nan"
          : "-.inf";
  }
  // JSON's escapes are YAML's too.
  if (typeof value === "string") return JSON.stringify(value);
  throw new TypeError(`${place}: a ${typeof value} cannot stand in a pipeline`);
}

function key(name: string): string {
  return /^[a-z][a-z0-9-]*$/.test(name) && !/^(true|false|null|yes|no|on|off|y|n)$/.test(name)
    ? name
    : JSON.stringify(name);
}
