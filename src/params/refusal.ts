/** Why a value was refused: a predicate to put behind the parameter's name, as in "queues wants 1 to 256, has 257". */
export interface Refusal {
  code: "wrong-type" | "out-of-range" | "bad-value";
  message: string;
  suggestion?: string;
}

/** What a scalar reader gives: the canonical value, or why there is none. */
export type Reading<T> = { value: T } | { refusal: Refusal };

export function refuse(
  code: Refusal["code"],
  wants: string,
  has: unknown,
  suggestion?: string,
): { refusal: Refusal } {
  const message = `wants ${wants}, has ${show(has)}`;
  return { refusal: suggestion === undefined ? { code, message } : { code, message, suggestion } };
}

/** A value in the words of someone who looks at the file: quoted text, plain numbers, "a list", "a map", "nothing". */
export function show(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a map";
  if (typeof value === "string") {
    const text = value.length > 60 ? value.slice(0, 59) + "…" : value;
    return JSON.stringify(text);
  }
  return String(value);
}
