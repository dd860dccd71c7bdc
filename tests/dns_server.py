"""A DNS server on loopback, over UDP and TCP, with zones of the test's own."""

from __future__ import annotations

import contextlib
import socketserver
import sys
import threading

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

SILENT = object()
BROKEN = object()


class Zones:
    """What the server knows.

    Attributes:
        records: a list of texts for each name and type; SILENT or BROKEN for a whole name.
        asked: the questions so far.
    """

    def __init__(self, **records):
        self.records = {}
        self.asked = []

    def add(self, name, kind, *texts):
        """Add records to a name."""
        self.records.setdefault(name, {}).setdefault(kind, []).extend(texts)

    def spf(self, name, text):
        """Add an SPF record, in strings of at most 255 bytes."""
        parts = [text[start : start + 200] for start in range(0, len(text), 200)]
        self.add(name, "TXT", " ".join(f'"{part}"' for part in parts))

    def answer(self, wire, room):
        """Return the answer to a question, cut to the room that there is."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        found = self.records.get(name)
        if found is SILENT:
            return b""
        if found is BROKEN:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif found is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif found.get(kind):
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *found[kind]))
        reply = response.to_wire()
        if len(reply) > room:
            response.answer.clear()
            response.flags |= dns.flags.TC
            reply = response.to_wire()
        return reply


@contextlib.contextmanager
def serving(zones, host="127.0.0.1", port=0):
    """Serve zones; give the address as ``--server`` takes it."""

    class Datagram(socketserver.BaseRequestHandler):
        def handle(self):
            wire, socket = self.request
            if reply := zones.answer(wire, 1232):
                socket.sendto(reply, self.client_address)

    class Stream(socketserver.StreamRequestHandler):
        def handle(self):
            size = int.from_bytes(self.rfile.read(2), "big")
            reply = zones.answer(self.rfile.read(size), 65535)
            self.wfile.write(len(reply).to_bytes(2, "big") + reply)

    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socketserver.ThreadingTCPServer((host, port), Stream))
        port = tcp.server_address[1]
        udp = stack.enter_context(socketserver.ThreadingUDPServer((host, port), Datagram))
        for server in (tcp, udp):
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            stack.callback(server.shutdown)
        yield f"{host}:{port}"


def main(host, port, *records):
    """Serve ``NAME TYPE TEXT`` records until standard input ends; say when it begins."""
    zones = Zones()
    for record in records:
        zones.add(*record.split(" ", 2))
    with serving(zones, host, int(port)):
        print("serving", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
