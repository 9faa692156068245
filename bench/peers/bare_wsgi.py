def app(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("content-type", "application/json"), ("content-length", "4")])
    return [b"null"]
