/**
 * Parameters of the device kinds and the built-in filters, for types. Here anything goes: `npm run build` writes
 * build/library/kinds.d.ts anew with each kind's own parameters, from the manifests (declare.ts).
 */

/** By kind: what a device's entry may have beside `kind`. */
export interface DeviceKinds {
  [kind: string]: { [param: string]: unknown };
}

/** By kind: what a filter's entry may have beside `kind`, `on-trap` and `isolation`. */
export interface FilterKinds {
  [kind: string]: { [param: string]: unknown };
}
