require('node:http').createServer((request, response) => {
    request.resume().on('end', () => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': 4 });
        response.end('null');
    });
}).listen(Number(process.argv[2]), '127.0.0.1');
