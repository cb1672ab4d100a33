"""Packets made and judged by scapy. `make nat` prints packets, one in hex a line; `check` reads such lines and prints
for each a line of JSON: what scapy sees, and which checksums it would have written otherwise."""
import json
import random
import sys

from scapy.all import (ICMP, DNS, DNSQR, IP, TCP, UDP, IPv6, Raw, checksum, raw, IPOption_NOP, IPOption_RR,
                       IPOption_Timestamp, ICMPv6EchoRequest, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment)

INSIDE = ["10.77.0.%d" % n for n in range(1, 20)]


def transports(rng):
    port = rng.randint(1, 65535)
    data = Raw(bytes(rng.randrange(256) for _ in range(rng.randrange(90))))
    yield UDP(sport=port, dport=53) / DNS(rd=1, qd=DNSQR(qname="example.org"))
    yield UDP(sport=port, dport=9, chksum=0) / data
    yield UDP(sport=port, dport=9) / data
    yield TCP(sport=port, dport=80, flags="S", seq=rng.getrandbits(32),
              options=[("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)])
    yield TCP(sport=port, dport=443, flags="PA", seq=rng.getrandbits(32), ack=rng.getrandbits(32)) / data
    yield TCP(sport=port, dport=443, flags="FA", window=rng.getrandbits(16), urgptr=1) / data
    yield ICMP(type=8, id=port, seq=3) / data
    yield ICMP(type="timestamp-request", id=port, seq=4)


def make_nat():
    rng = random.Random(4787)
    for inside in INSIDE:
        for transport in transports(rng):
            options = rng.choice([[], [IPOption_NOP()] * 3, [IPOption_RR(length=11, routers=["0.0.0.0"] * 2)],
                                  [IPOption_Timestamp(flg=0, length=8, timestamp=1)]])
            yield IP(src=inside, dst="192.0.2.%d" % rng.randint(1, 254), ttl=rng.randint(1, 255), id=rng.getrandbits(16),
                     tos=rng.getrandbits(8), options=options) / transport


def make_any():
    rng = random.Random(1812)
    for inside in INSIDE:
        for transport in transports(rng):
            yield IP(src=inside, dst="192.0.2.1", options=rng.choice([[], [IPOption_NOP()] * 3])) / transport
    for n, size in enumerate([0, 1, 2, 519, 520, 521, 1183, 1184, 1185, 1400]):
        source = "2001:db8::%d" % (n + 1)
        yield IP(src="10.77.0.1", dst="192.0.2.1") / UDP(sport=n, dport=7) / Raw(b"x" * size)
        yield IPv6(src=source, dst="2001:db8:1::1") / UDP(sport=n, dport=7) / Raw(b"x" * size)
        yield IPv6(src=source, dst="2001:db8:1::1", tc=n, fl=n) / IPv6ExtHdrDestOpt() / TCP(flags="S") / Raw(b"x" * size)
        yield IPv6(src=source, dst="2001:db8:1::1") / ICMPv6EchoRequest(id=n, data=b"x" * size)
    yield IPv6(src="2001:db8::1", dst="2001:db8:1::1") / IPv6ExtHdrFragment(m=1, nh=17) / UDP(len=1000) / Raw(b"x" * 8)


def layers(packet):
    """Its layers down to the data, or to what an ICMP error quotes: that is looked at apart."""
    while packet and "in ICMP" not in packet.name and not isinstance(packet, Raw):
        yield packet
        packet = packet.payload


def checksum_field(layer):
    # By the layer's own fields: scapy's getattr goes on to the layers below.
    names = [field.name for field in layer.fields_desc if field.name in ("chksum", "cksum")]
    return names[0] if names else None


def wrong_checksums(packet):
    """Layers whose checksum is not the one that scapy computes."""
    again = packet.copy()
    for layer in layers(again):
        field = checksum_field(layer)
        if field and not (isinstance(layer, UDP) and layer.chksum == 0):
            setattr(layer, field, None)
    right = type(packet)(raw(again))
    wrong = []
    for one, other in zip(layers(packet), layers(right)):
        field = checksum_field(one)
        if field and one.getfieldval(field) != other.getfieldval(field):
            wrong.append("%s %04x is not %04x" % (one.name, one.getfieldval(field), other.getfieldval(field)))
    return wrong


def ports(packet):
    for layer in (TCP, UDP):
        if layer in packet:
            return [packet[layer].sport, packet[layer].dport]
    return [packet[ICMP].id] if ICMP in packet and packet[ICMP].type in (0, 8, 13, 14) else []


def see(data):
    packet = (IPv6 if data[0] >> 4 == 6 else IP)(data)
    seen = {"from": packet.src, "to": packet.dst, "ports": ports(packet), "wrong": wrong_checksums(packet)}
    header = len(data) - len(raw(packet.payload))
    body = data[header:]
    if packet.version == 4 and packet.proto == 1 or packet.version == 6 and packet.nh == 58:
        seen["icmp"] = [body[0], body[1]]
        if body[0] in ((3, 11, 12) if packet.version == 4 else (1, 3)):
            quote = body[8:]
            seen["quote"] = quote.hex()
            inner = (IPv6 if quote[0] >> 4 == 6 else IP)(quote)
            seen["quoted"] = {"from": inner.src, "to": inner.dst, "ports": ports(inner)}
            if inner.version == 4 and checksum(quote[:inner.ihl * 4]) != 0:
                seen["wrong"].append("quoted IP header")
            whole = inner.len if inner.version == 4 else inner.plen + 40
            if len(quote) == whole:
                seen["wrong"] += ["quoted " + wrong for wrong in wrong_checksums(inner)]
    return seen


if __name__ == "__main__":
    if sys.argv[1] == "make":
        for made in {"nat": make_nat, "any": make_any}[sys.argv[2]]():
            print(raw(made).hex())
    else:
        for line in sys.stdin:
            print(json.dumps(see(bytes.fromhex(line.strip()))))
