/** Users and groups by name, from whatever database the C library knows (files, LDAP, ...). */
import koffi from "koffi";

const library = koffi.load(null);
// struct passwd: char *name, char *password, uid_t uid, ...; struct group: char *name, char *password, gid_t gid, ...
const ID_OFFSET = 16;
const getpwnam = library.func("getpwnam", "void *", ["str"]);
const getgrnam = library.func("getgrnam", "void *", ["str"]);

/** @param user a name, or a number, which stands for itself. @returns uid; undefined: there is no such user */
export function userId(user: string): number | undefined {
  return idOf(user, getpwnam);
}

/** @param group a name, or a number, which stands for itself. @returns gid; undefined: there is no such group */
export function groupId(group: string): number | undefined {
  return idOf(group, getgrnam);
}

function idOf(name: string, lookup: (name: string) => unknown): number | undefined {
  // The highest u32 means "nobody in particular" to the kernel.
  if (/^\d+$/.test(name)) return Number(name) < 0xffffffff ? Number(name) : undefined;
  const entry = lookup(name);
  return entry === null ? undefined : (koffi.decode(entry, ID_OFFSET, "uint32") as number);
}
