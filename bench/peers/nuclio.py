def handler(context, event):
    return "null"
