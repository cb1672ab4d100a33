/** Values of options, checked as the command line is read. */
import { InvalidArgumentError, Option } from "commander";
import { parseDuration as parseDurationText } from "../params/quantities.ts";

/** --set, which may be said several times. */
export function setOption(): Option {
  const description = "override one value of the file, as often as you like: devices.lan.queues=4";
  return new Option("--set <key=value>", description).argParser(collect).default([]);
}

/** An option that may be said several times. */
export function collect(value: string, previous: string[]): string[] {
  return [...previous, value];
}

/** "10s" -> ns */
export function parseDuration(text: string): number {
  const ns = parseDurationText(text);
  if (typeof ns !== "number")
    throw new InvalidArgumentError(`"${text}" is not a duration such as 500ms, 10s or 2m.`);
  if (ns === 0) throw new InvalidArgumentError("nothing can be done in no time.");
  return ns;
}

export function parseIo(text: string): "auto" | "uring" | "poll" {
  if (text !== "auto" && text !== "uring" && text !== "poll") {
    throw new InvalidArgumentError("it wants auto, uring or poll.");
  }
  return text;
}
