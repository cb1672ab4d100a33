/** A tap device is a tun device with Ethernet headers: the kernel has one driver for both, and so have we. */
export { type OpenDevice, openDevice } from "../tun/open.ts";
