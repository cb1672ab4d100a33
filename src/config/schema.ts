/**
 * JSON Schema (2020-12) of the whole pipeline file, made of the manifests that the checker uses, so that an editor
 * completes kinds and parameters and shows their docs. What needs more than one place to tell (names, cycles, layers)
 * only the checker knows.
 */
import { join } from "node:path";
import { definitions, type JsonSchema, paramSchema, paramsSchema } from "../params/schema.ts";
import type { ParamSpec } from "../params/types.ts";
import { hostSpecs, listFilters } from "./filters.ts";
import { deviceManifests as allDeviceManifests } from "./kinds.ts";
import { loadManifest } from "./manifest.ts";
import { FORMAT_VERSION, workersSpec } from "./pipeline.ts";
import { FILTERS_DIRECTORY } from "./ready-manifest.ts";
import type { DeviceManifest, Manifest } from "./types.ts";

const ID = "^[a-z][a-z0-9-]*$";

/** The schema of a file that may use all device kinds and built-in filters there are. */
export function fullPipelineSchema(
  deviceManifests = allDeviceManifests,
  filtersDirectory = FILTERS_DIRECTORY,
): JsonSchema {
  const filters = listFilters(filtersDirectory).map((kind) =>
    loadManifest(join(filtersDirectory, kind), kind),
  );
  return pipelineSchema(deviceManifests, filters);
}

export function pipelineSchema(deviceManifests: DeviceManifest[], filterManifests: Manifest[]): JsonSchema {
  const id = { type: "string", pattern: ID };
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "pktflow pipeline",
    type: "object",
    required: ["pktflow", "devices", "paths"],
    additionalProperties: false,
    properties: {
      pktflow: { const: FORMAT_VERSION, description: "Format version." },
      name: {
        type: "string",
        pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
        description:
          "What the running pipeline is called; the default is the file's name without its ending.",
      },
      workers: paramSchema(workersSpec),
      devices: section("Where packets enter and leave.", { $ref: "#/$defs/device" }),
      filters: section("Named filters; one used in two paths shares its state between them.", {
        $ref: "#/$defs/filter",
      }),
      paths: { ...section("How packets flow.", { $ref: "#/$defs/path" }), minProperties: 1 },
    },
    $defs: {
      ...definitions,
      id,
      device: byKind(deviceManifests, { enum: deviceManifests.map(({ kind }) => kind) }, idNamed),
      filter: byKind(
        filterManifests,
        {
          anyOf: [
            { enum: filterManifests.map(({ kind }) => kind) },
            { type: "string", pattern: "^\\.{0,2}/" },
          ],
        },
        (specs) => [...hostSpecs, ...specs],
        true,
      ),
      path: {
        type: "object",
        required: ["to"],
        additionalProperties: false,
        properties: {
          from: {
            description: "A device or a list of devices; absent: entered only from another path.",
            anyOf: [id, { type: "array", items: id }],
          },
          through: {
            description:
              "Filters in order; { FILTER: { OUTPUT: PATH } } sends what leaves by an output elsewhere.",
            anyOf: [{ $ref: "#/$defs/step" }, { type: "array", items: { $ref: "#/$defs/step" } }],
          },
          to: { ...id, description: "A device, a path, or drop." },
        },
      },
      step: {
        anyOf: [
          id,
          {
            type: "object",
            minProperties: 1,
            maxProperties: 1,
            propertyNames: id,
            additionalProperties: {
              type: "object",
              propertyNames: { pattern: ID, not: { enum: ["next", "drop", "accept"] } },
              additionalProperties: id,
            },
          },
        ],
      },
    },
  };
}

function section(description: string, entry: JsonSchema): JsonSchema {
  return { description, type: "object", propertyNames: { pattern: ID }, additionalProperties: entry };
}

/** A map whose `kind` says what else may stand in it; a user's own kind is left to the checker. */
function byKind(
  manifests: { kind: string; summary: string; params: ParamSpec[] }[],
  kinds: JsonSchema,
  specsOf: (specs: ParamSpec[]) => ParamSpec[],
  mayBeFile = false,
): JsonSchema {
  return {
    type: "object",
    required: ["kind"],
    properties: { kind: { description: "What it is.", ...kinds } },
    allOf: manifests.map(({ kind, summary, params }) => {
      const { properties, required } = paramsSchema(specsOf(params), mayBeFile);
      return {
        if: { properties: { kind: { const: kind } }, required: ["kind"] },
        // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema; nobody awaits a schema.
        then: {
          description: summary,
          properties: { kind: { const: kind, description: summary }, ...properties },
          required,
          additionalProperties: false,
        },
      };
    }),
  };
}

/** A device's `name` is its id unless said, so it is never missing. */
function idNamed(specs: ParamSpec[]): ParamSpec[] {
  return specs.map((spec) => (spec.name === "name" ? { ...spec, default: null } : spec));
}
