"""A client of whom a NAT in its way knows one flow and wants no other: what the kernel is told, and tells those who ask.
python3 refused.py ADDRESS    prints JSON: the errors of a UDP socket and of a TCP connection; then ping says its own
"""
import errno
import json
import socket
import struct
import subprocess
import sys

IP_RECVERR = 11
ADDRESS = sys.argv[1]
first = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
first.connect((ADDRESS, 9))
first.send(b"the one flow")

# struct sock_extended_err of linux/errqueue.h, and behind it the sockaddr_in of who said it.
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
udp.settimeout(20)
udp.connect((ADDRESS, 9))
udp.send(b"one more")
try:
    udp.recv(100)
    told = None
except OSError as error:
    told = error.errno
_, ancillary, _, _ = udp.recvmsg(100, 512, socket.MSG_ERRQUEUE)
_, _, extended = ancillary[0]
number, origin, icmp_type, code = struct.unpack_from("=IBBB", extended)
offender = socket.inet_ntoa(extended[20:24])

tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
tcp.settimeout(20)
print(json.dumps({
    "udp": [errno.errorcode.get(told), errno.errorcode.get(number), origin, icmp_type, code, offender],
    "tcp": errno.errorcode.get(tcp.connect_ex((ADDRESS, 80))),
}), flush=True)
subprocess.run(["ping", "-c", "1", "-W", "20", ADDRESS], check=False)
