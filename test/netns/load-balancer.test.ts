// pipelines/load-balancer.yaml, by the command that stands in the file: real connections to three real servers.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { describeKernel } from "../support/namespace.ts";
import { pktflow, ROOT, readReport, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());
const EXAMPLE = "pipelines/load-balancer.yaml";

describeKernel("load-balancer", () => {
  /** The script of the file's second command. */
  const script = () =>
    /-- sh -c '\n([\s\S]*?)'\n/.exec(readFileSync(join(ROOT, EXAMPLE), "utf8"))![1].replaceAll(/^#/gm, "");

  const ask = async (io: string, ...set: string[]) => {
    const file = folder.file("report.json");
    const values = set.flatMap((value) => ["--set", value]);
    const { stdout } = await pktflow([
      "lab",
      EXAMPLE,
      "--quiet",
      "--io",
      io,
      "--report",
      file,
      ...values,
      "--",
      "sh",
      "-c",
      script(),
    ]);
    const report = readReport(file);
    expect(conservation(report).missing).toBe(0);
    const answers = [...stdout.matchAll(/(red|green|blue) (\d+)/g)].map(([, name, count]) => [
      name,
      Number(count),
    ]);
    return { report, answers: Object.fromEntries(answers) as Record<string, number> };
  };

  test("every server is reached by its own address", async () => {
    const result = await pktflow(["lab", EXAMPLE, "--io", "poll"]);
    expect(result).toMatchObject({ status: 0, stderr: "" });
    expect(result.stdout).toContain("self-check passed: 18 of 18 probes got through\n");
  });

  const spread = "connections to the service are all answered, each by one server, by every server: %s";
  test.each(["poll", "uring"])(spread, async (io) => {
    const { report, answers } = await ask(io);
    expect(answers["red"] + answers["green"] + answers["blue"]).toBe(40);
    const { counters } = report.filters["spread"];
    for (const name of ["red", "green", "blue"]) {
      expect(answers[name], name).toBeGreaterThan(0);
      expect(counters[`connections.${name}`], name).toBe(answers[name]);
    }
  });

  test("a server without weight, or drained, gets none", async () => {
    const red = "{ name: red, via: red, drain: true }";
    const { answers } = await ask(
      "poll",
      `filters.spread.backends=[${red}, { name: green, via: green, weight: 0 }, { name: blue, via: blue }]`,
    );
    expect(answers).toEqual({ blue: 40 });
  });
});
