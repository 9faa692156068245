def handler(request):
    request.get_json()
    return "null"
