/**
 * Rules of an acl that no packet comes to: one before has all that they match. Exact where it says so: a rule is told of when
 * every criterion of one single earlier rule holds for all that it matches. One that several together cover is not.
 */
import { splitPrefix } from "../../params/addresses.ts";
import { NOBODY } from "../../params/sets.ts";
import type { PortRange } from "../../params/types.ts";
import type { Warned, Warning } from "./index.ts";

/** Each is held against all before it: for more the time would be noticed. */
export const MOST_RULES = 4000;
const MOST_PAIRS = 65_536;

type Rule = Record<string, unknown> & { action: string; name?: string };
/** Is what `inner` says of a criterion part of what `outer` says? */
type Covers = (outer: unknown, inner: unknown) => boolean;

const ranges: Covers = (outer, inner) =>
  (inner as PortRange[]).every((range) =>
    (outer as PortRange[]).some(({ first, last }) => first <= range.first && last >= range.last),
  );
const values: Covers = (outer, inner) =>
  (inner as unknown[]).every((value) => (outer as unknown[]).includes(value));
const same: Covers = (outer, inner) => JSON.stringify(outer) === JSON.stringify(inner);
/** Flags that must be set, or clear: who asks for more matches less. */
const fewer: Covers = (outer, inner) => values(inner, outer);
const prefixes: Covers = (outer, inner) => {
  const [wider, narrower] = [outer as Prefix[], inner as Prefix[]];
  // Long sets would take long; what is not looked at is not told of.
  if (wider.length * narrower.length > MOST_PAIRS) return false;
  return narrower.every((prefix) => wider.some((other) => isWithin(prefix, other)));
};

const CRITERIA: Record<string, Covers> = {
  ethertype: values,
  proto: values,
  from: prefixes,
  to: prefixes,
  "from-port": ranges,
  "to-port": ranges,
  "icmp-type": values,
  "icmp-code": values,
  "tcp-flags": values,
  "tcp-flags-set": fewer,
  "tcp-flags-clear": fewer,
  fragments: values,
  dscp: values,
  length: ranges,
  mark: values,
};
const NOT = "not-";

export function shadowedRules({ id, params }: Warned): Warning[] {
  const rules = (params["rules"] ?? []) as Rule[];
  if (rules.length > MOST_RULES) return [];
  const prepared = rules.map(prepare);
  const name = (i: number) => (rules[i].name ? `"${rules[i].name}"` : `${i}`);
  return prepared.flatMap((rule, i): Warning[] => {
    const first = prepared.findIndex((earlier, j) => j < i && !earlier.marks && covers(earlier, rule));
    if (first < 0 || first >= i) return [];
    const message = (where: string) =>
      `rule ${name(i)} can never match: rule ${name(first)} (${where}) matches all that it would`;
    return [
      { code: "shadowed-rule", path: ["rules", i], message, other: { filter: id, path: ["rules", first] } },
    ];
  });
}

/** Sets that are empty now need not stay so. */
function isNobodys(rule: Rule): boolean {
  return Object.entries(rule).some(
    ([key, value]) => CRITERIA[key] === prefixes && (value as unknown[] | undefined)?.[0] === NOBODY,
  );
}

interface Prepared {
  said: [string, unknown][];
  of: Map<string, unknown>;
  mask: unknown;
  marks: boolean;
}

function prepare(rule: Rule): Prepared {
  if (isNobodys(rule)) {
    const said: [string, unknown][] = [["nobody", true]];
    return { said, of: new Map(said), mask: undefined, marks: false };
  }
  const said = Object.entries(rule)
    .filter(([key, value]) => (CRITERIA[key] || key.startsWith(NOT)) && value !== undefined)
    .filter(([, value]) => (value as unknown[]).length > 0)
    .map(([key, value]): [string, unknown] => {
      const isPrefix = CRITERIA[key] === prefixes;
      return [key, isPrefix ? (value as string[]).map(parsePrefix) : value];
    });
  const marks = rule.action.startsWith("mark ");
  return { said, of: new Map(said), mask: rule["mark-mask"], marks };
}

function covers(outer: Prepared, inner: Prepared): boolean {
  return outer.said.every(([key, value]) => {
    const other = inner.of.get(key);
    if (other === undefined) return false;
    if (key === "mark" && outer.mask !== inner.mask) return false;
    return (CRITERIA[key] ?? same)(value, other);
  });
}

interface Prefix {
  family: number;
  length: number;
  bits: bigint;
}

function parsePrefix(text: string): Prefix {
  const { address, length } = splitPrefix(text);
  const bits = address.bytes.reduce((all, byte) => (all << 8n) | BigInt(byte), 0n);
  const width = address.bytes.length * 8;
  return { family: address.family, length, bits: bits >> BigInt(width - length) };
}

function isWithin(inner: Prefix, outer: Prefix): boolean {
  if (inner.family !== outer.family || inner.length < outer.length) return false;
  return inner.bits >> BigInt(inner.length - outer.length) === outer.bits;
}
