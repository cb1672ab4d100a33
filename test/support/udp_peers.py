"""Two ends of UDP through a translator: the server answers with what it is asked for, the client says what it got.

server ADDRESS: a request "SIZE" or "SIZE nocheck" or "SIZE cut" is answered with its length, a space, and SIZE bytes: without a
checksum, or with packets that routers may cut.
client ADDRESS: asks, with requests of several sizes, until it is answered, and prints a line for each.
"""
import socket, sys, time

PATTERN = bytes(range(256)) * 40
IP_MTU_DISCOVER, IP_PMTUDISC_DONT, IP_PMTUDISC_WANT, SO_NO_CHECK = 10, 0, 1, 11


def server(address):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, 5000))
    while True:
        request, who = s.recvfrom(65535)
        words = request.rstrip(b"\0").split()
        s.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1 if b"nocheck" in words else 0)
        s.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT if b"cut" in words else IP_PMTUDISC_WANT)
        try:
            s.sendto(b"%d " % len(request) + PATTERN[: int(words[0])], who)
        except OSError:
            pass  # too big, just learned: the client asks again


def ask(address, words, size):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.connect((address, 5000))
    s.settimeout(0.5)
    end = time.monotonic() + 15
    while time.monotonic() < end:
        try:
            s.send(words.encode().ljust(size, b"\0"))
            length, _, rest = s.recv(65535).partition(b" ")
            same = rest == PATTERN[: int(words.split()[0])]
            return "%d bytes there, %d back, %s" % (int(length), len(rest), "the same" if same else "other ones")
        except (TimeoutError, OSError):
            time.sleep(0.05)
    return "no answer"


if sys.argv[1] == "server":
    server(sys.argv[2])
for words, size in [("9", 9), ("9 nocheck", 20), ("1300 cut", 20), ("1400", 1400), ("4000", 4000), ("4000 cut", 20)]:
    print(words + ":", ask(sys.argv[2], words, size), flush=True)
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.connect((sys.argv[2], 9))
s.settimeout(10)
try:
    s.send(b"anyone?")
    s.recv(1)
except OSError as error:
    print("port 9:", error.strerror)
