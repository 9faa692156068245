import os


def handler(event, context):
    print(f"request {context.aws_request_id}")
    return {"message": f"{os.environ['GREETING']}, {event.get('name', 'world')}!"}
