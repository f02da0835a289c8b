"""The name server of example.com for level controller: takes dynamic updates (RFC 2136) and answers on 127.0.0.1:53.

cert-manager puts the records of dns-01 here and takes them away again; it and certctl ask for them here.
"""

import socket
from collections import defaultdict

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.update

ADDRESS = ("127.0.0.1", 53)
TTL = 1  # seconds
ZONE = dns.name.from_text("example.com")
SERVER = dns.name.from_text("ns", ZONE)
records: defaultdict[tuple[dns.name.Name, str], set[str]] = defaultdict(set)  # of a name and a type
records[ZONE, "SOA"] = {f"{SERVER} hostmaster.{ZONE} 1 3600 600 86400 {TTL}"}
records[ZONE, "NS"] = {str(SERVER)}
records[SERVER, "A"] = {ADDRESS[0]}
records[dns.name.from_text("test", ZONE), "A"] = {ADDRESS[0]}


def change(message: dns.update.UpdateMessage) -> None:
    """Add the records of an update, or take them away (RFC 2136 section 2.5)."""
    for each in message.update:
        kept = records[each.name, dns.rdatatype.to_text(each.rdtype)]
        texts = {rdata.to_text() for rdata in each}
        if each.deleting:
            kept -= texts
        else:
            kept |= texts
        print("without" if each.deleting else "with", each.name, *texts, flush=True)


def answer(query: dns.message.Message) -> dns.message.Message:
    """The records of a name; the zone's SOA where it has none of the type."""
    response = dns.message.make_response(query, recursion_available=True)
    response.flags |= dns.flags.AA
    if isinstance(query, dns.update.UpdateMessage):
        change(query)
        return response
    (question,) = query.question
    kind = dns.rdatatype.to_text(question.rdtype)
    found = records.get((question.name, kind))
    if not question.name.is_subdomain(ZONE):
        response.set_rcode(dns.rcode.REFUSED)
    elif found:
        response.answer.append(dns.rrset.from_text_list(question.name, TTL, "IN", kind, sorted(found)))
    else:
        response.authority.append(dns.rrset.from_text_list(ZONE, TTL, "IN", "SOA", records[ZONE, "SOA"]))
    return response


def main() -> None:
    """Answer until the end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as served:
        served.bind(ADDRESS)
        print("serving", flush=True)
        while True:
            wire, peer = served.recvfrom(4096)
            served.sendto(answer(dns.message.from_wire(wire)).to_wire(), peer)


if __name__ == "__main__":
    main()
