"""JSON for a service that speaks SOAP: turns requests into envelopes, and what comes back into JSON.

It knows the service and has no way to it: `relay.py` carries. It is called twice for a request, with
{"request": {"method", "path", "body"}} and with {"reply": {"operation", "status", "xml"}}, the latter in base64.
"""

import base64
import json
import re
import xml.etree.ElementTree as ET

import document

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
SPACE = "urn:warehouse:2004"

BIN = {"city": ("City", str), "count": ("Count", int)}
OPERATIONS = {
    "GetStock": {
        "takes": {"sku": ("Sku", str)},
        "element": "StockRecord",
        "gives": {
            "sku": ("Sku", str),
            "description": ("Description", str),
            "onHand": ("OnHand", int),
            "bins": ("Bin", [BIN]),
        },
    },
    "Reserve": {
        "takes": {"sku": ("Sku", str), "quantity": ("Quantity", int)},
        "element": "Reservation",
        "gives": {"sku": ("Sku", str), "quantity": ("Quantity", int)},
    },
}
# What the service's codes mean in HTTP. What is not here is none of the client's fault.
STATUS = {"UNKNOWN-SKU": 404, "NOT-ENOUGH": 409, "BAD-REQUEST": 400}
SKU = re.compile(r"[A-Z]-[0-9]{1,6}")


def handler(event, context):
    body = event["body"]
    message = json.loads(base64.b64decode(body) if event["isBase64Encoded"] else body)
    try:
        return ask(**message["request"]) if "request" in message else understand(**message["reply"])
    except Wrong as wrong:
        return answer(wrong.status, {"error": str(wrong)})


class Wrong(Exception):
    """Something that the client is told."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def answer(status, body):
    return {"answer": {"status": status, "body": body}}


def ask(method, path, body):
    """The envelope that a request becomes."""
    match (method, path.strip("/").split("/")):
        case ("GET", ["stock", sku]):
            operation, content = "GetStock", {"sku": article(sku)}
        case ("POST", ["reservations"]):
            operation, content = "Reserve", reservation(body)
        case _:
            raise Wrong(404, "there is no such thing")
    envelope = ET.Element(f"{{{SOAP}}}Envelope")
    request = document.write(operation, content, OPERATIONS[operation]["takes"], SPACE)
    ET.SubElement(envelope, f"{{{SOAP}}}Body").append(request)
    return {"operation": operation, "xml": ET.tostring(envelope, "utf-8", xml_declaration=True).decode()}


def article(sku):
    if not isinstance(sku, str) or not SKU.fullmatch(sku):
        raise Wrong(400, "sku has to be of the form A-100")
    return sku


def reservation(body):
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise Wrong(400, "the body is not JSON") from None
    if not isinstance(content, dict) or content.keys() != {"sku", "quantity"}:
        raise Wrong(400, "send sku and quantity")
    quantity = content["quantity"]
    # True is an int to Python.
    if type(quantity) is not int or not 1 <= quantity <= 10_000:
        raise Wrong(400, "quantity has to be a whole number from 1 to 10000")
    return {"sku": article(content["sku"]), "quantity": quantity}


def understand(operation, status, xml):
    """What the service's envelope says."""
    known = OPERATIONS[operation]
    try:
        body = document.parse(base64.b64decode(xml)).find(f"{{{SOAP}}}Body")
        if body is None:
            raise document.Unreadable("there is no body")
        fault = body.find(f"{{{SOAP}}}Fault")
        if fault is not None:
            return refused(fault)
        element = body.find(f"{{{SPACE}}}{known['element']}")
        if status != 200 or element is None:
            raise document.Unreadable(f"status {status}, without {known['element']}")
        return answer(200, document.read(element, known["gives"], SPACE))
    except document.Unreadable as why:
        print(f"the service's answer to {operation} is unreadable: {why}")
        raise Wrong(502, "the warehouse has answered what we do not understand") from None


def refused(fault):
    code = fault.findtext(f"detail/{{{SPACE}}}Code", "")
    if code not in STATUS:
        print(f"the service's fault: {code} {fault.findtext('faultstring')}")
        raise Wrong(502, "the warehouse has a problem of its own")
    raise Wrong(STATUS[code], fault.findtext("faultstring", code))
