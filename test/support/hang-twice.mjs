// Runs a pipeline whose filter does not end, twice in one process, and says how each run ended and which interfaces are left.
//   node hang-twice.mjs FILE ENGINE
import { execFileSync } from "node:child_process";
import { load, run } from "../../build/bundle/index.js";

const [file, io] = process.argv.slice(2);
for (let turn = 0; turn < 2; turn++) {
  let end = "ended";
  try {
    const running = await run(load(file), { io });
    await running.ended;
  } catch (error) {
    end = error.message;
  }
  const links = execFileSync("ip", ["-o", "link"], { encoding: "utf8" });
  console.log(
    JSON.stringify({ end, links: [...links.matchAll(/^\d+: ([\w.-]+)/gm)].map((match) => match[1]) }),
  );
}
