"""Usage: mirror.py DEVICE SECONDS: what leaves through a tun device comes back, that much later.

Source and destination change places, which no checksum minds.  So a connection to the address
behind the device is one to ourselves, from there, and each packet of it takes its time: those
that make the connection, too, which a proxy of TCP answers at once.

Started by ``far``; alone it imports nothing of the harness.
"""

import collections
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF = 0x400454ca
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
READY = "mirror\n"
MOST = 20000      # packets under way; more are lost, as on a real line


def attach(name: str) -> int:
    """Return a descriptor of the tun device ``name``, made if there is none, that doesn't block."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def swapped(packet: bytes) -> bytes:
    """Return an IPv4 packet with source and destination exchanged, b"" for any other."""
    return packet[:12] + packet[16:20] + packet[12:16] + packet[20:] if packet[0] >> 4 == 4 else b""


def reflect(device: int, seconds: float) -> None:
    """Send every packet back after ``seconds``; for ever."""
    under_way: collections.deque[tuple[float, bytes]] = collections.deque()
    while True:
        left = under_way[0][0] - time.monotonic() if under_way else None
        if left is None or left > 0:
            select.select([device], [], [], left)
        now = time.monotonic()
        try:
            while len(under_way) < MOST:
                packet = swapped(os.read(device, 65536))
                if packet:
                    under_way.append((now + seconds, packet))
        except BlockingIOError:
            pass
        while under_way and under_way[0][0] <= time.monotonic():
            os.write(device, under_way.popleft()[1])


if __name__ == "__main__":
    descriptor = attach(sys.argv[1])
    sys.stdout.write(READY)
    sys.stdout.flush()
    reflect(descriptor, float(sys.argv[2]))
