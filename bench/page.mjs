/** The charts of the standing set and what it reached, as one page. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const escaped = (text) => text.replace(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`);

export function writePage(folder, names, targets) {
  const charts = names
    .map((name) => ({ name, file: join(folder, `${name}.svg`) }))
    .filter(({ file }) => existsSync(file))
    .map(({ name, file }) => `<h2>${name}</h2>\n${readFileSync(file, "utf8")}`);
  const html = `<!doctype html>
<meta charset="utf-8"><title>pktflow: the standing set</title>
<style>body{font:15px system-ui,sans-serif;max-width:940px;margin:2em auto;padding:0 1em}svg{max-width:100%;height:auto}</style>
<h1>The standing set</h1>
<pre>${escaped(targets.trim())}</pre>
${charts.join("\n")}
`;
  const file = join(folder, "index.html");
  writeFileSync(file, html);
  return file;
}
