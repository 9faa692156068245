"""Messenger: Meta's webhooks. https://developers.facebook.com/docs/messenger-platform/webhooks"""

import hashlib
import hmac

import dice
from request import Refused, secret


def get(request):
    """Meta asks once whether the address is ours, by a token that we have told it, and wants its challenge back."""
    given = request.query.get("hub.verify_token", "").encode()
    if not hmac.compare_digest(secret("MESSENGER_VERIFY_TOKEN"), given):
        raise Refused(403, "the verify token is wrong")
    challenge = request.query.get("hub.challenge", "")
    # It is a number. Sending back anything that somebody has put into a link would lend them our address.
    if request.query.get("hub.mode") != "subscribe" or not challenge.isascii() or not challenge.isdigit():
        raise Refused(400, "this is not how Meta asks")
    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": challenge}


def post(request):
    right = "sha256=" + hmac.new(secret("MESSENGER_APP_SECRET"), request.body, hashlib.sha256).hexdigest()
    # In constant time: how long it takes must not tell how much of a forged signature is right.
    if not hmac.compare_digest(right.encode(), request.header("x-hub-signature-256").encode()):
        raise Refused(401, "the signature is wrong")
    for sender, text in messages(request.json()):
        # Messenger takes answers by its Send API alone, which a function without network cannot call: see README.md.
        print(f"to {sender}: {dice.reply(text)}")
    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": "EVENT_RECEIVED"}


def messages(webhook):
    """Who wrote what. One webhook may tell of many messages, and of what is none."""
    if webhook.get("object") != "page":
        raise Refused(404, "only pages are subscribed to")
    for entry in webhook.get("entry") or []:
        for event in entry.get("messaging") or []:
            text = (event.get("message") or {}).get("text")
            if isinstance(text, str):
                yield (event.get("sender") or {}).get("id"), text
