"""The smallest useful function: it greets whoever the event names, or the query of its URL."""

import os


def handler(event, context):
    name = event.get("queryStringParameters", event).get("name", "world")
    print(f"greeting {name}")
    return {"message": f"{os.environ['GREETING']}, {name}!", "requestId": context.aws_request_id}
