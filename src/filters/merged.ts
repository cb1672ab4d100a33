/** What a case says under `changed`: the packet that came in, with other values. */
import type { Fields } from "./cases.ts";

/** A map with the values of another put over it, maps in maps too. */
export function merged(base: Fields, over: Fields): Fields {
  const result: Fields = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = result[key];
    result[key] = isMap(below) && isMap(value) ? merged(below, value) : value;
  }
  return result;
}

function isMap(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
