/**
 * Named sets of prefixes: { office: [10.0.0.0/8, "2001:db8::/32"], blocked: { file: blocked.txt } }. Lists of prefixes whose
 * spec says `sets` may have their names beside prefixes, or in their place; a name cannot be taken for an address.
 */
import { readPrefix } from "./addresses.ts";
import type { Problem } from "./parse.ts";
import { show } from "./refusal.ts";
import { closest } from "./suggest.ts";
import type { ParamValue } from "./types.ts";

/** Reads a file of prefixes that a set names. @throws what it likes; the error's message is shown */
export type ReadFile = (path: string) => { name: string; text: string };

/**
 * Stands alone in a list of prefixes that names only sets without any: it matches nothing, whereas a list that is empty says
 * nothing. Encoded as a prefix of family 0.
 */
export const NOBODY = "nobody";
/** A file of something else would be wrong in every line. */
const MOST_WRONG = 10;
const NAME = /^[a-z][a-z0-9-]*$/;
type Path = (string | number)[];
type Report = (
  path: Path,
  code: Problem["code"],
  message: string,
  more?: Partial<Pick<Problem, "atKey" | "suggestion" | "place">>,
) => void;

export class Sets {
  readonly #sets = new Map<string, ParamValue[]>();
  readonly #unused = new Set<string>();
  readonly #parameter: string;

  constructor(parameter: string) {
    this.#parameter = parameter;
  }

  /** @param value as the pipeline file has it @param report what is wrong, by its path in `value` */
  read(value: unknown, readFile: ReadFile | undefined, report: Report): { [name: string]: ParamValue } {
    const lists: { [name: string]: ParamValue } = {};
    if (value === null || typeof value !== "object" || Array.isArray(value)) {
      report([], "wrong-type", `${this.#parameter} wants a map of names, has ${show(value)}`);
      return lists;
    }
    for (const [name, set] of Object.entries(value)) {
      if (!NAME.test(name)) {
        const wants = 'lower-case letters, digits and "-", after a letter';
        report([name], "bad-value", `a set's name is ${wants}; not ${JSON.stringify(name)}`, { atKey: true });
        continue;
      }
      const list = isMap(set)
        ? this.#readFile(name, set, readFile, report)
        : this.#readList(name, set, report);
      this.#sets.set(name, list);
      this.#unused.add(name);
      lists[name] = list;
    }
    return lists;
  }

  #readList(name: string, set: unknown, report: Report): ParamValue[] {
    const alone = !Array.isArray(set);
    const list: ParamValue[] = [];
    for (const [i, element] of (alone ? [set] : set).entries()) {
      const reading = readPrefix(element);
      if ("value" in reading) list.push(reading.value);
      else {
        const { code, message, suggestion } = reading.refusal;
        report(alone ? [name] : [name, i], code, `${this.#parameter}.${name} ${message}`, {
          ...(suggestion === undefined ? {} : { suggestion }),
        });
      }
    }
    return list;
  }

  /** One prefix a line; what follows # is a comment. */
  #readFile(
    set: string,
    value: Record<string, unknown>,
    readFile: ReadFile | undefined,
    report: Report,
  ): ParamValue[] {
    const { file, ...others } = value;
    const who = `${this.#parameter}.${set}`;
    for (const key of Object.keys(others)) {
      report([set, key], "unknown-key", `unknown key ${JSON.stringify(key)} in ${who}`, {
        atKey: true,
        ...(file === undefined && closest(key, ["file"]) ? { suggestion: "file" } : {}),
      });
    }
    if (typeof file !== "string") {
      report([set], "wrong-type", `${who} wants prefixes, or { file: PATH }`);
      return [];
    }
    if (readFile === undefined) {
      report([set, "file"], "bad-value", `${who}: no file can be read here`);
      return [];
    }
    let found: { name: string; text: string };
    try {
      found = readFile(file);
    } catch (error) {
      report([set, "file"], "bad-value", `${who}: ${(error as Error).message}`);
      return [];
    }
    const list: ParamValue[] = [];
    const { name, text } = found;
    let wrong = 0;
    for (let start = 0; start < text.length; ) {
      const newline = text.indexOf("\n", start);
      const end = newline < 0 ? text.length : newline;
      const line = text.slice(start, end);
      const word = line.replace(/#.*/s, "").trim();
      if (word !== "") {
        const reading = readPrefix(word);
        if ("value" in reading) list.push(reading.value);
        else if (++wrong <= MOST_WRONG) {
          const at = start + line.indexOf(word);
          const { code, message, suggestion } = reading.refusal;
          report([set, "file"], code, `${who} ${message}`, {
            place: { file: name, text, start: at, end: at + word.length },
            ...(suggestion === undefined ? {} : { suggestion }),
          });
        }
      }
      start = end + 1;
    }
    if (wrong > MOST_WRONG)
      report(
        [set, "file"],
        "bad-value",
        `${who}: ${wrong - MOST_WRONG} more lines of ${name} are no prefixes`,
      );
    return list;
  }

  /** The prefixes of a name; undefined: it is none of a set. */
  get(name: string): ParamValue[] | undefined {
    this.#unused.delete(name);
    return this.#sets.get(name);
  }

  /** May this be the name of a set? */
  static isName(value: unknown): value is string {
    return typeof value === "string" && NAME.test(value);
  }

  /** The name that was probably meant, which then counts as used. */
  suggest(name: string): string | undefined {
    const meant = closest(name, this.#sets.keys());
    if (meant !== undefined) this.#unused.delete(meant);
    return meant;
  }

  get unused(): string[] {
    return [...this.#unused];
  }
}

function isMap(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
