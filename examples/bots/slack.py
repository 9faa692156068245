"""Slack: slash commands and the Events API. https://docs.slack.dev/authentication/verifying-requests-from-slack"""

import hashlib
import hmac
import time
from urllib.parse import parse_qs

import dice
from request import Refused, answer, secret

# Who overhears a request may not send it again later.
WINDOW = 5 * 60


def post(request):
    check(request)
    if request.header("content-type").startswith("application/json"):
        return happened(request.json())
    form = {name: values[0] for name, values in parse_qs(request.body.decode("utf-8", "replace")).items()}
    if "ssl_check" in form:
        return answer()
    return answer({"response_type": "in_channel", "text": dice.reply(form.get("text", ""))})


def check(request):
    """Lets only Slack through: v0, the timestamp and the body, under the signing secret."""
    key = secret("SLACK_SIGNING_SECRET")
    timestamp = request.header("x-slack-request-timestamp")
    if not timestamp.isascii() or not timestamp.isdigit() or abs(time.time() - int(timestamp[:12])) > WINDOW:
        raise Refused(401, "the timestamp is missing or not of now")
    right = "v0=" + hmac.new(key, f"v0:{timestamp}:".encode() + request.body, hashlib.sha256).hexdigest()
    # In constant time: how long it takes must not tell how much of a forged signature is right.
    if not hmac.compare_digest(right.encode(), request.header("x-slack-signature").encode()):
        raise Refused(401, "the signature is wrong")


def happened(event):
    """An event of the Events API."""
    if event.get("type") == "url_verification":
        return answer({"challenge": event.get("challenge")})
    # An answer to an event would be a call of chat.postMessage; Slack only wants to know that it has arrived.
    print(f"event {(event.get('event') or {}).get('type')} of team {event.get('team_id')}")
    return answer()
