/** `pktflow tuntap`: persistent devices, in the words of `ip tuntap`. */
import type { Command } from "commander";
import { TUNTAP_HELP } from "../tuntap-help.ts";

export function registerTuntap(program: Command): void {
  program
    .command("tuntap")
    .description("make, remove and list persistent tun and tap devices, in the words of `ip tuntap`")
    .argument("[words...]")
    // All words are tuntap's own, --help among them: its text is not commander's.
    .helpOption(false)
    .allowUnknownOption()
    .configureHelp({ formatHelp: () => TUNTAP_HELP })
    .action(async (words: string[]) => {
      const { tuntap } = await import("../tuntap.ts");
      process.exitCode = tuntap(words, {
        out: (text) => process.stdout.write(text),
        err: (text) => process.stderr.write(text),
      });
    });
}
