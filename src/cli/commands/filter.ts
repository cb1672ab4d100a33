/** `pktflow filter`: the filters there are, and the making of new ones. */
import type { Command } from "commander";
import { Option } from "commander";

const HELP = `
Examples:
  pktflow filter list
  pktflow filter show nat
  pktflow filter new filters/mine --template stateful
  pktflow filter build filters/mine
  pktflow filter test filters/mine --watch

A pipeline uses a filter by its path: kind: ./filters/mine. run, check and lab
build what is stale by themselves.
`;
const NEW_HELP = `
Templates:
  packet     packet(p: Packet): Output, called for each packet
  batch      batch(b: Batch): void, called for each batch, where the loop matters
  stateful   packet() with state for each worker: a rate limiter

Examples:
  pktflow filter new filters/mine
  pktflow filter test filters/mine
`;
const BUILD_HELP = `
Examples:
  pktflow filter build                   the filter in this folder
  pktflow filter build filters/mine

The module goes to the cache ($XDG_CACHE_HOME/pktflow/filters), and is made
again only when its sources, its parameters, the SDK or the compiler have
changed. Exit status: 2 when it does not compile, or the module is refused.
`;
const TEST_HELP = `
Examples:
  pktflow filter test filters/mine
  pktflow filter test filters/mine --watch     again at every change
  pktflow filter test nat                      a built-in one

Exit status: 0 when all cases pass, 1 when one does not, 2 when the filter or
its cases.yaml is not right.
`;

export function registerFilter(program: Command): void {
  const filter = program
    .command("filter")
    .description("the filters there are, and the making of your own: list, show, new, build, test")
    .addHelpText("after", HELP);
  filter
    .command("list")
    .description("the built-in filters, and those in a folder")
    .argument("[dir]", "a folder of filters, or of one")
    .option("--json", "print them as JSON")
    .action(async (folder: string | undefined, options: { json?: boolean }) => {
      const { list } = await import("../filter/show.ts");
      process.stdout.write(list(folder, options.json === true));
    });
  filter
    .command("show")
    .description("a filter's parameters, outputs, counters, state, module, and about what it costs")
    .argument("<filter>", "the name of a built-in filter, or a folder")
    .option("--json", "print it as JSON")
    .addOption(
      new Option("--markdown", "print its reference page, from its manifest alone").conflicts("json"),
    )
    .addHelpText(
      "after",
      "\nExamples:\n  pktflow filter show acl\n  pktflow filter show filters/mine --json\n  pktflow filter show nat --markdown > nat.md\n",
    )
    .action(async (name: string, options: { json?: boolean; markdown?: boolean }) => {
      const { markdown, show } = await import("../filter/show.ts");
      if (options.markdown === true) {
        process.stdout.write(markdown(name));
        return;
      }
      process.stdout.write(await show(name, options.json === true, process.stdout.columns));
    });
  filter
    .command("new")
    .description("make a folder with a filter that builds and passes its tests")
    .argument("<name>", "the folder to make; its last part is the filter's name")
    .addOption(
      new Option("--template <template>", "what to start from")
        .choices(["packet", "batch", "stateful"])
        .default("packet"),
    )
    .addHelpText("after", NEW_HELP)
    .action(async (name: string, options: { template: "packet" | "batch" | "stateful" }) => {
      const { create } = await import("../filter/make.ts");
      process.stdout.write(create(name, options.template));
    });
  filter
    .command("build")
    .description("compile a filter and check its module")
    .argument("[dir]", "the filter's folder", ".")
    .addHelpText("after", BUILD_HELP)
    .action(async (folder: string) => {
      const { build } = await import("../filter/make.ts");
      process.stdout.write(await build(folder));
    });
  filter
    .command("test")
    .description("run a filter's cases.yaml; a failing case is shown as a difference of packets")
    .argument("[dir]", "the filter's folder, or the name of a built-in one", ".")
    .option("--watch", "run them again at every change, until interrupted")
    .addHelpText("after", TEST_HELP)
    .action(async (folder: string, options: { watch?: boolean }) => {
      const { test, watch } = await import("../filter/test.ts");
      process.exitCode = options.watch === true ? await watch(folder) : await test(folder);
    });
}
