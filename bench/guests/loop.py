# A bare loop on a socket: read a frame, parse it, call the handler, write its result as JSON.
import json, os, struct


def handler(event, context):
    return None


read, write, loads, dumps = os.read, os.write, json.loads, json.dumps
size = struct.Struct("<I")
data = b""
while True:
    while len(data) < 4 or len(data) < 4 + size.unpack_from(data)[0]:
        more = read(0, 65536)
        if not more:
            raise SystemExit
        data += more
    end = 4 + size.unpack_from(data)[0]
    event, data = loads(data[4:end]), data[end:]
    answer = dumps(handler(event, None)).encode()
    write(0, size.pack(len(answer)) + answer)
