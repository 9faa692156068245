"""What the three bots need of an HTTP request: its body as it was sent, its headers, and a way to say no."""

import base64
import json
import os

# Messages are short; nothing longer is worth a signature.
LARGEST_BODY = 256 * 1024


class Refused(Exception):
    """The request is answered with a status and a reason, and with nothing else."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status, self.reason = status, reason


class Request:
    def __init__(self, event):
        self.headers = event["headers"]
        self.query = event.get("queryStringParameters") or {}
        body = event.get("body") or ""
        # Signatures are over the bytes that were sent, not over what they mean.
        self.body = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
        if len(self.body) > LARGEST_BODY:
            raise Refused(413, "the body is too long")

    def header(self, name):
        return self.headers.get(name, "")

    def json(self):
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            raise Refused(400, "the body is not JSON") from None
        if not isinstance(value, dict):
            raise Refused(400, "the body is not a JSON object")
        return value


def secret(name):
    """A secret from the function's variables. Without it nobody is let in."""
    value = os.environ.get(name, "")
    if not value:
        print(f"{name} is not set: deploy again with it in your shell's environment")
        raise Refused(503, "this bot is not set up")
    return value.encode()


def answer(content=None):
    """200 with JSON, or with nothing."""
    if content is None:
        return {"statusCode": 200}
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(content)}
