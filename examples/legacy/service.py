"""The old service: a warehouse that speaks SOAP, and XML on an older path. It stands for what cannot be changed any more.

python3 service.py [PORT]
"""

import sys
import threading
import xml.etree.ElementTree as ET
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
OURS = "urn:warehouse:2004"
LARGEST_BODY = 64 * 1024

STOCK = {
    "A-100": {"Description": "Hex bolt M8 x 40", "Bins": {"Hamburg": 1200, "Vienna": 80}},
    "A-200": {"Description": "Washer <M8>", "Bins": {"Hamburg": 5000}},
    "B-7": {"Description": "Größe L Handschuhe", "Bins": {}},
}
LOCK = threading.Lock()


class Fault(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def item(sku):
    if sku not in STOCK:
        raise Fault("UNKNOWN-SKU", f"No article {sku}")
    record = ET.Element(f"{{{OURS}}}StockRecord")
    ET.SubElement(record, f"{{{OURS}}}Sku").text = sku
    ET.SubElement(record, f"{{{OURS}}}Description").text = STOCK[sku]["Description"]
    ET.SubElement(record, f"{{{OURS}}}OnHand").text = str(sum(STOCK[sku]["Bins"].values()))
    for city, count in STOCK[sku]["Bins"].items():
        place = ET.SubElement(record, f"{{{OURS}}}Bin")
        ET.SubElement(place, f"{{{OURS}}}City").text = city
        ET.SubElement(place, f"{{{OURS}}}Count").text = str(count)
    return record


def reserve(sku, quantity):
    with LOCK:
        on_hand = int(item(sku).findtext(f"{{{OURS}}}OnHand"))
        if quantity > on_hand:
            raise Fault("NOT-ENOUGH", f"Only {on_hand} of {sku}")
        bins = STOCK[sku]["Bins"]
        left = quantity
        for city in bins:
            taken = min(left, bins[city])
            bins[city] -= taken
            left -= taken
    done = ET.Element(f"{{{OURS}}}Reservation")
    ET.SubElement(done, f"{{{OURS}}}Sku").text = sku
    ET.SubElement(done, f"{{{OURS}}}Quantity").text = str(quantity)
    return done


def call(envelope):
    """What the body of an envelope asks for."""
    body = ET.fromstring(envelope).find(f"{{{SOAP}}}Body")
    request = next(iter(body), None) if body is not None else None
    if request is None:
        raise Fault("BAD-REQUEST", "No body")
    sku = request.findtext(f"{{{OURS}}}Sku", "")
    if request.tag == f"{{{OURS}}}GetStock":
        return item(sku)
    if request.tag == f"{{{OURS}}}Reserve":
        return reserve(sku, int(request.findtext(f"{{{OURS}}}Quantity", "0")))
    raise Fault("BAD-REQUEST", f"No operation {request.tag}")


def wrap(element):
    envelope = ET.Element(f"{{{SOAP}}}Envelope")
    ET.SubElement(envelope, f"{{{SOAP}}}Body").append(element)
    return ET.tostring(envelope, "utf-8", xml_declaration=True)


def fault(error):
    element = ET.Element(f"{{{SOAP}}}Fault")
    ET.SubElement(element, "faultcode").text = "soap:Client"
    ET.SubElement(element, "faultstring").text = str(error)
    ET.SubElement(ET.SubElement(element, "detail"), f"{{{OURS}}}Code").text = error.code
    return element


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "WarehouseServer/4.2"
    timeout = 30

    def do_POST(self):
        length = int(self.headers.get("Content-Length", "0"))
        if length > LARGEST_BODY:
            self.close_connection = True
            return self.answer(413, b"")
        try:
            self.answer(200, wrap(call(self.rfile.read(length))))
        except Fault as error:
            self.answer(500, wrap(fault(error)))
        except (ET.ParseError, ValueError) as error:
            self.answer(500, wrap(fault(Fault("BAD-REQUEST", str(error)))))

    def do_GET(self):
        # The interface from before SOAP. Its errors are 200, too.
        address = urlsplit(self.path)
        if address.path != "/cgi-bin/stock.cgi":
            return self.answer(404, b"")
        try:
            record = item(parse_qs(address.query).get("SKU", [""])[0])
        except Fault as error:
            record = ET.Element("Error", {"code": error.code})
        self.answer(200, ET.tostring(record, "utf-8", xml_declaration=True))

    def answer(self, status, content):
        self.send_response(status)
        self.send_header("Content-Type", "text/xml; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Backend", "wh-db-03.internal")
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8082), Handler)
    print(f"the warehouse: http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
