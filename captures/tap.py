"""A capture point as a scapy socket: `sniff(opened_socket=tap)` and `tap.send(packet)` work on it.

Theory of operation. The packet socket is opened inside the node's network namespace by the lab, and only its
descriptor comes here (SCM_RIGHTS); sending and receiving happen in the namespace of the socket, whoever does
it. Unlike the recorder's ring this is a plain socket: easy to select, and good for some 20,000 packets/s.
"""

from __future__ import annotations

import socket
from typing import Final

# Importing the layers tells scapy what runs on which port.
import scapy.layers.all  # noqa: F401
from scapy.config import conf
from scapy.data import ETH_P_ALL, MTU, SO_TIMESTAMPNS, SOL_PACKET
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from scapy.supersocket import PACKET_AUXDATA, SuperSocket

_RECEIVE_BUFFER: Final = 8 << 20
_SO_RCVBUFFORCE: Final = 33
_HARDWARE_TYPE: Final = 3  # its place in a packet socket's address


class Tap(SuperSocket):
    """What `ifname` sends and receives, with the kernel's time stamps; what is sent here is not received.

    Closing the tap closes its socket.
    """

    desc = "a capture point of a lab"

    def __init__(self, sock: socket.socket, ifname: str) -> None:
        """Capture from now on with `sock`: an AF_PACKET, SOCK_RAW one of the namespace that has `ifname`.

        Raises: OSError, and closes `sock`, when there is no such interface.
        """
        self.ins = self.outs = sock
        self.iface = ifname
        self.promisc = False
        try:
            sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self._enlarge_buffer(sock)
            sock.bind((ifname, ETH_P_ALL))
            hardware_type = sock.getsockname()[_HARDWARE_TYPE]
        except OSError:
            self.close()
            raise
        self.auxdata_available = True
        self._link_layer: type[Packet] = conf.l2types.num2layer.get(hardware_type, Ether)

    def recv_raw(self, x: int = MTU) -> tuple[type[Packet] | None, bytes | None, float | None]:
        """Return the link layer, the bytes and the kernel's time stamp (s) of the next packet."""
        data, _, time_s = self._recv_raw(self.ins, x)
        return self._link_layer, data, time_s

    @staticmethod
    def _enlarge_buffer(sock: socket.socket) -> None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:
            # Then the system's limit (net.core.rmem_max) holds.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
