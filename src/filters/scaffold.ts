/** `pktflow filter new`: a filter's folder from a template (assembly/templates), and what an editor needs of it. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { NAME } from "../params/parse.ts";
import { BUILTIN, PACKAGE } from "./build.ts";
import { FilterError } from "./error.ts";

export const TEMPLATES = ["packet", "batch", "stateful"] as const;
export type Template = (typeof TEMPLATES)[number];

const FOLDER = join(PACKAGE, "assembly", "templates");
const OF_TEMPLATE = ["index.ts", "filter.yaml", "cases.yaml"];
const OF_ALL = ["tsconfig.json", "README.md"];
/** Generated files in a filter's folder: hidden, ignored by git and by the build. */
const GENERATED = ".pktflow";

/**
 * Makes a folder with a filter that builds and passes its cases.
 * @param folder its path; its last part is the filter's name
 * @returns names of the files
 * @throws FilterError: the name is none, there is something already, or it cannot be written
 */
export function makeFilter(folder: string, template: Template): string[] {
  const name = basename(folder);
  if (!NAME.test(name)) {
    throw new FilterError(
      `a filter is called as devices and paths are (a-z, 0-9 and -, a letter first), not "${name}"`,
    );
  }
  if (existsSync(join(BUILTIN, name))) {
    throw new FilterError(
      `"${name}" is a built-in filter: a command that is given the name would mean that one`,
    );
  }
  if (existsSync(folder) && readdirSync(folder).length > 0) {
    throw new FilterError(
      `${folder} is there already, and nothing of it is overwritten: choose another name`,
    );
  }
  const replace = (text: string) => text.replaceAll(/\bNAME\b/g, name).replaceAll(/\bDIR\b/g, folder);
  const files = [
    ...OF_TEMPLATE.map((file) => [file, readFileSync(join(FOLDER, template, file), "utf8")]),
    ...OF_ALL.map((file) => [file, replace(readFileSync(join(FOLDER, file), "utf8"))]),
    [".gitignore", `${GENERATED}/\n`],
  ];
  try {
    mkdirSync(folder, { recursive: true });
    for (const [file, text] of files) writeFileSync(join(folder, file), text, { flag: "wx" });
  } catch (error) {
    const { code, path } = error as NodeJS.ErrnoException;
    throw new FilterError(`open ${path ?? folder}: ${code}: the filter's files cannot be written there`);
  }
  return files.map(([file]) => file);
}

/**
 * Puts the generated params.ts where the tsconfig.json of a new filter looks for it, so that editors know its types.
 * Only where there is such a tsconfig.json; a folder that cannot be written stays without, for only editors miss it.
 */
export function writeEditorParams(folder: string, params: string): void {
  const tsconfig = join(folder, "tsconfig.json");
  if (!existsSync(tsconfig) || !readFileSync(tsconfig, "utf8").includes(`./${GENERATED}`)) return;
  const file = join(folder, GENERATED, "params.ts");
  try {
    if (existsSync(file) && readFileSync(file, "utf8") === params) return;
    mkdirSync(join(folder, GENERATED), { recursive: true });
    writeFileSync(file, params);
  } catch (error) {
    if (!["EACCES", "EPERM", "EROFS"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}
