"""Webhooks of three messengers behind one address. Each path has a module, which checks who calls before anything else."""

import json

import messenger
import slack
import telegram
from request import Refused, Request

# The keys are those of the routes in ephyra.toml.
ROUTES = {
    "POST /slack": slack.post,
    "POST /telegram": telegram.post,
    "GET /messenger": messenger.get,
    "POST /messenger": messenger.post,
}


def handler(event, context):
    route = event["routeKey"]
    try:
        if route not in ROUTES:
            raise Refused(404, "there is no such bot")
        return ROUTES[route](Request(event))
    except Refused as refused:
        print(f"refused {route}: {refused.status} {refused.reason}")
        return {
            "statusCode": refused.status,
            "headers": {"content-type": "application/json"},
            "body": json.dumps({"error": refused.reason}),
        }
