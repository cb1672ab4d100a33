"""Makes the kernel send every packet of a multi-queue TUN device to one queue: steer.py DEVICE QUEUE

Attaches a queue of its own for a moment and sets a steering program (TUNSETSTEERINGEBPF) that returns QUEUE. The program
stays with the device. Run it in the device's network namespace, as root.
"""

import ctypes
import fcntl
import os
import struct
import sys

device, queue = sys.argv[1], int(sys.argv[2])
SYS_BPF, BPF_PROG_LOAD, BPF_PROG_TYPE_SOCKET_FILTER = 321, 5, 1
TUNSETIFF, TUNSETSTEERINGEBPF = 0x400454CA, 0x800454E0
IFF_TUN, IFF_NO_PI, IFF_MULTI_QUEUE = 0x0001, 0x1000, 0x0100

# mov r0, QUEUE; exit
program = ctypes.create_string_buffer(struct.pack("<BBhi", 0xB7, 0, 0, queue) + struct.pack("<BBhi", 0x95, 0, 0, 0), 16)
license = ctypes.create_string_buffer(b"GPL")
attributes = struct.pack(
    "<IIQQ104x", BPF_PROG_TYPE_SOCKET_FILTER, 2, ctypes.addressof(program), ctypes.addressof(license)
)
buffer = ctypes.create_string_buffer(attributes, len(attributes))
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.syscall(SYS_BPF, BPF_PROG_LOAD, buffer, len(attributes))
if fd < 0:
    sys.exit("BPF_PROG_LOAD: " + os.strerror(ctypes.get_errno()))

tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE))
fcntl.ioctl(tun, TUNSETSTEERINGEBPF, struct.pack("i", fd))
