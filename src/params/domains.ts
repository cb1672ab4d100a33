/**
 * Names of the DNS as lists of them are kept: a name a line, or the lines of a hosts file (hosts(5)), which have an address before
 * one name or several.
 */
import { domainToASCII } from "node:url";
import { parseAddress } from "./addresses.ts";
import { type Reading, refuse } from "./refusal.ts";

const WANTS = "a domain name (ads.example) or a line of a hosts file (0.0.0.0 ads.example)";
/** Labels of up to 63 octets, all together no more than 253 (RFC 1035, 2.3.4); with the underscores that there are. */
const NAME = /^(?=.{1,253}$)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/;

/**
 * @returns the names in lower case, a blank between them; "": a line of a hosts file that is about the machine itself
 * (`127.0.0.1 localhost`), as names without a dot and addresses for names are
 */
export function readDomains(value: unknown): Reading<string> {
  if (typeof value !== "string") return refuse("wrong-type", WANTS, value);
  const words = value.trim().split(/\s+/);
  const [first] = words;
  // The one with a zone is for link-local addresses: fe80::1%lo0.
  const isHosts = words.length > 1 && isAddress(first.split("%")[0]);
  if (!isHosts && (words.length > 1 || isAddress(first))) return refuse("bad-value", WANTS, value);
  const names: string[] = [];
  for (const word of isHosts ? words.slice(1) : words) {
    if (isHosts && (!word.includes(".") || isAddress(word))) continue;
    const name = canonical(word);
    if (name === undefined) return refuse("bad-value", WANTS, value);
    names.push(name);
  }
  return { value: names.join(" ") };
}

function isAddress(word: string): boolean {
  const code = word.charCodeAt(0);
  // Names with a digit or a colon at their beginning are few.
  return ((code >= 0x30 && code <= 0x39) || word.includes(":")) && parseAddress(word) !== undefined;
}

/** Lower case, without the dot at the end, and without what says "and all below it" in some lists: `*.`, `.`. */
function canonical(word: string): string | undefined {
  let name = word.toLowerCase();
  if (NAME.test(name)) return name;
  name = name.replace(/^\*?\./, "").replace(/\.$/, "");
  if (NAME.test(name)) return name;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is meant
  if (/^[\x00-\x7f]*$/.test(name)) return undefined;
  const ascii = domainToASCII(name);
  return NAME.test(ascii) ? ascii : undefined;
}
