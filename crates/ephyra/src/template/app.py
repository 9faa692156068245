import os


def handler(event, context):
    print(f"request {context.aws_request_id}")
    # Called at its URL, it finds what was asked for in the query: ?name=you
    name = event.get("queryStringParameters", event).get("name", "world")
    return {"message": f"{os.environ['GREETING']}, {name}!"}
