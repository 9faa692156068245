"""Carries between the API, the function and the old service. It runs beside the service and understands neither side.

python3 relay.py FUNCTION_URL SERVICE_URL [PORT]
"""

import base64
import http.client
import json
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

LARGEST_REQUEST = 64 * 1024
LARGEST_REPLY = 1024 * 1024
# In seconds. There are three ways to go, and the API waits for half a minute.
PATIENCE = 8
AT_ONCE = 64
# Straight, whatever proxies the shell names.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Unreachable(Exception):
    pass


def post(address, content, headers):
    """(status, body) of whatever comes back."""
    request = urllib.request.Request(address, content, headers)
    try:
        try:
            reply = OPENER.open(request, timeout=PATIENCE)
        except urllib.error.HTTPError as error:
            # SOAP's faults come with 500.
            reply = error
        with reply:
            body = reply.read(LARGEST_REPLY + 1)
            if len(body) > LARGEST_REPLY:
                raise Unreachable(f"{address} answers more than {LARGEST_REPLY} bytes")
            return reply.status, body
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{address}: {error}") from error


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Longer than the API keeps a connection that it does not use: it must not send a request into one that we are closing.
    timeout = 65

    def do_GET(self):
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal() or int(length) > LARGEST_REQUEST:
            # What is not read must not be taken for the next request.
            self.close_connection = True
            return self.answer(413, {"error": f"the body is longer than {LARGEST_REQUEST} bytes, or of unknown length"})
        self.carry(self.rfile.read(int(length)))

    do_POST = do_GET

    def carry(self, body):
        try:
            plan = self.ask(
                {
                    "request": {
                        "method": self.command,
                        "path": urlsplit(self.path).path,
                        "body": body.decode("utf-8", "replace"),
                    }
                }
            )
            if "xml" in plan:
                headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{plan["operation"]}"'}
                status, xml = post(self.server.service, plan["xml"].encode(), headers)
                # As it came: the document itself says which letters its bytes are.
                reply = {"operation": plan["operation"], "status": status, "xml": base64.b64encode(xml).decode()}
                plan = self.ask({"reply": reply})
            self.answer(plan["answer"]["status"], plan["answer"]["body"])
        except Unreachable as error:
            self.log_error("%s", error)
            self.answer(504, {"error": "the warehouse cannot be reached"})

    def ask(self, question):
        status, body = post(self.server.function, json.dumps(question).encode(), {"Content-Type": "application/json"})
        if status != 200:
            raise Unreachable(f"the function answers {status}: {body[:200]!r}")
        try:
            return json.loads(body)
        except ValueError as error:
            raise Unreachable(f"the function answers {body[:200]!r}") from error

    def answer(self, status, content):
        body = json.dumps(content, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """A thread for each connection, of which there are so many at most."""

    def __init__(self, port, function, service):
        super().__init__(("127.0.0.1", port), Handler)
        self.function, self.service = function, service
        self.places = threading.BoundedSemaphore(AT_ONCE)

    def process_request(self, request, client_address):
        self.places.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.places.release()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    server = Server(int(sys.argv[3]) if len(sys.argv) > 3 else 8083, sys.argv[1], sys.argv[2])
    print(f"the relay: http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
