/**
 * ${NAME} and ${NAME:-default} in scalar values.
 *
 * In a flow map, `{ queues: ${Q} }` is not YAML: a plain scalar there may not hold braces. So before the text is parsed,
 * each reference is disguised character by character in a private-use block of Unicode, which keeps every offset, and
 * scalars are undisguised and replaced after.
 */
const REFERENCE = /\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}\n]*))?\}/g;
/** Wrong ones too: they are reported better as scalars than as broken flow maps. */
const ANY_REFERENCE = /\$\{[^}\n]*\}/g;
/** Private-use blocks of 256; the first one that the text itself does not use is taken. */
const BLOCKS = Array.from({ length: 24 }, (_, i) => 0xe000 + i * 0x100);

export type Environment = Record<string, string | undefined>;

export interface Disguised {
  /** As long as the original. */
  text: string;
  /** The original text of a part of the disguised one. */
  reveal(part: string): string;
}

export function disguise(text: string): Disguised {
  const block = BLOCKS.find((first) => !inBlock(first).test(text));
  if (block === undefined) return { text, reveal: (part) => part };
  const hide = (reference: string) =>
    reference.replace(/[\0-\xff]/g, (c) => String.fromCharCode(block + c.charCodeAt(0)));
  const hidden = inBlock(block, "g");
  return {
    text: text.replace(ANY_REFERENCE, hide),
    reveal: (part) => part.replace(hidden, (c) => String.fromCharCode(c.charCodeAt(0) - block)),
  };
}

/** Replaces all references in a scalar's text. `missing` has the names that are unset and have no default. */
export function substitute(text: string, environment: Environment): { text: string; missing: string[] } {
  const missing: string[] = [];
  const replaced = text.replace(REFERENCE, (reference, name: string, fallback: string | undefined) => {
    const value = Object.hasOwn(environment, name) ? environment[name] : undefined;
    // As in the shell's ${NAME:-default}, an empty variable counts as unset there.
    if (fallback !== undefined) return value || fallback;
    if (value === undefined) missing.push(name);
    return value ?? reference;
  });
  return { text: replaced, missing };
}

export function hasReference(text: string): boolean {
  return text.includes("${");
}

/** A "${" that no reference begins with. */
export function brokenReference(text: string): boolean {
  return text.replace(REFERENCE, "").includes("${");
}

function inBlock(first: number, flags = ""): RegExp {
  const unit = (code: number) => `\\u${code.toString(16)}`;
  return new RegExp(`[${unit(first)}-${unit(first + 0xff)}]`, flags);
}
