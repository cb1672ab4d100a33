"""The kernel as a router between two TUN devices, packet by packet: kernel_router.py LAN WAN, in its own network namespace.

Makes the devices, says "ready", and waits for a line that says that all else is set up. Then each line of standard input is
"lan HEX" or "wan HEX": the packet arrives from that device. Each line of standard output is a JSON list of what left, in
order: [["wan", HEX], ...]. As root.
"""

import fcntl
import json
import os
import select
import struct
import sys

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
TCP = 6
# The kernel forwards while the packet is written, so what leaves is there at once; an answer of its own may take a little.
PATIENCE = 0.03


def open_tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


devices = {"lan": open_tun(sys.argv[1]), "wan": open_tun(sys.argv[2])}


def drain():
    left = []
    while True:
        ready, _, _ = select.select(list(devices.values()), [], [], PATIENCE)
        if not ready:
            return left
        for name, fd in devices.items():
            if fd in ready:
                packet = os.read(fd, 65536)
                # Of IPv6 only TCP: the kernel's own neighbour and router discovery comes when it likes.
                if packet[0] >> 4 == 4 or packet[6] == TCP:
                    left.append([name, packet.hex()])


print("ready", flush=True)
sys.stdin.readline()
drain()
for line in sys.stdin:
    device, data = line.split()
    os.write(devices[device], bytes.fromhex(data))
    print(json.dumps(drain()), flush=True)
