/** The words of `ip tuntap`: parsed, carried out, and listed in its format. */
import {
  addDevice,
  deleteDevice,
  type ListedDevice,
  listDevices,
  type NewDevice,
} from "../devices/tun/manage.ts";
import { nameProblem } from "../devices/tun/queues.ts";
import {
  IFF_MULTI_QUEUE,
  IFF_NO_PI,
  IFF_ONE_QUEUE,
  IFF_PERSIST,
  IFF_TAP,
  IFF_TUN,
  IFF_VNET_HDR,
} from "../sys/if_tun.ts";
import { EXIT, errorText, exitStatus, UsageError } from "./exit.ts";
import { TUNTAP_HELP } from "./tuntap-help.ts";

export interface Output {
  out(text: string): void;
  err(text: string): void;
}

/**
 * Carries out `pktflow tuntap WORDS` in the current network namespace.
 * @returns the exit status; what went wrong has been written to `io.err`
 */
export function tuntap(words: readonly string[], io: Output): number {
  try {
    io.out(carryOut(words));
    return EXIT.OK;
  } catch (error) {
    io.err(errorText(error));
    return exitStatus(error);
  }
}

/** As `ip` orders them: the first one that starts with the word is meant. */
const COMMANDS = ["add", "delete", "show", "lst", "list", "help"];
const KEYWORDS = [
  "mode",
  "user",
  "group",
  "pi",
  "one_queue",
  "vnet_hdr",
  "multi_queue",
  "dev",
  "name",
  "help",
] as const;

function carryOut([first, ...rest]: readonly string[]): string {
  if ([first, ...rest].some((word) => word === "-h" || word === "--help")) return TUNTAP_HELP;
  const command = first === undefined ? "show" : COMMANDS.find((name) => name.startsWith(first));
  if (command === undefined || first === "") throw wrong(`there is no command "${first}"`);
  if (command === "help") return TUNTAP_HELP;
  const given = parseWords(rest);
  if (given === "help") return TUNTAP_HELP;
  if (command === "add") {
    const made = addDevice({ ...given, mode: needMode(given) });
    // The kernel has chosen one, and who asked does not know it.
    return given.name === undefined ? `${made}\n` : "";
  }
  if (command === "delete") {
    const mode = needMode(given);
    if (given.name === undefined) throw wrong("which device? Its name is missing");
    deleteDevice(given.name, mode);
    return "";
  }
  return show(given);
}

type Given = Omit<NewDevice, "mode"> & { mode: NewDevice["mode"] | undefined };

function parseWords(words: readonly string[]): Given | "help" {
  const said = new Map<string, string>();
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    const keyword = word === "" ? undefined : KEYWORDS.find((name) => name.startsWith(word));
    if (keyword === "help") return "help";
    // What is no keyword is a name, with or without "dev" before it.
    const key = keyword === undefined || keyword === "dev" ? "name" : keyword;
    if (said.has(key)) {
      throw wrong(
        keyword === undefined
          ? `what is "${word}"? The device is "${said.get(key)}"`
          : `"${key}" stands there twice`,
      );
    }
    const takesValue = key === "mode" || key === "user" || key === "group" || key === "name";
    const value = takesValue && keyword !== undefined ? words[++i] : word;
    if (value === undefined) throw wrong(`"${word}" wants something after it`);
    said.set(key, value);
  }
  const name = said.get("name");
  const problem = name === undefined ? undefined : nameProblem(name);
  if (problem !== undefined) throw wrong(`"${name}" cannot be a name: ${problem}`);
  return {
    name,
    mode: parseMode(said.get("mode")),
    user: said.get("user"),
    group: said.get("group"),
    pi: said.has("pi"),
    vnetHdr: said.has("vnet_hdr"),
    multiQueue: said.has("multi_queue"),
    oneQueue: said.has("one_queue"),
  };
}

function parseMode(word: string | undefined): NewDevice["mode"] | undefined {
  if (word === undefined) return undefined;
  const mode = word === "" ? undefined : (["tun", "tap"] as const).find((name) => name.startsWith(word));
  if (mode === undefined) throw wrong(`there is no mode "${word}": tun or tap`);
  return mode;
}

function needMode({ mode }: Given): NewDevice["mode"] {
  if (mode === undefined) throw wrong("the mode is missing: mode tun or mode tap");
  return mode;
}

function show({ name, mode }: Given): string {
  const type = mode && { tun: IFF_TUN, tap: IFF_TAP }[mode];
  const devices = listDevices().filter(
    (device) => (name === undefined || device.name === name) && (!type || (device.flags & type) !== 0),
  );
  if (name !== undefined && devices.length === 0)
    throw new Error(`tuntap show ${name}: there is no such device`);
  return devices.map(formatDevice).join("");
}

/** In the order in which `ip` prints them; the bits that are set, or for pi not set. */
const FLAG_WORDS: { bit: number; word: string; inverse?: true }[] = [
  { bit: IFF_TUN, word: "tun" },
  { bit: IFF_TAP, word: "tap" },
  { bit: IFF_NO_PI, word: "pi", inverse: true },
  { bit: IFF_ONE_QUEUE, word: "one_queue" },
  { bit: IFF_MULTI_QUEUE, word: "multi_queue" },
  { bit: IFF_VNET_HDR, word: "vnet_hdr" },
  { bit: IFF_PERSIST, word: "persist" },
  // IFF_NOFILTER is the same bit as IFF_NO_PI, so ip says that whatever has pi has a filter.
  { bit: IFF_NO_PI, word: "filter", inverse: true },
];

/** One line of `ip tuntap list`. */
function formatDevice({ name, flags, owner, group }: ListedDevice): string {
  const words = FLAG_WORDS.filter(({ bit, inverse }) => ((flags & bit) === 0) === (inverse ?? false)).map(
    ({ word }) => word,
  );
  const unknown = FLAG_WORDS.reduce((rest, { bit }) => rest & ~bit, flags);
  if (unknown !== 0) words.push(`0x${unknown.toString(16)}`);
  if (owner !== undefined) words.push(`user ${owner}`);
  if (group !== undefined) words.push(`group ${group}`);
  return `${name}: ${words.join(" ")}\n`;
}

function wrong(what: string): UsageError {
  return new UsageError(`tuntap: ${what} (pktflow tuntap help)`);
}
