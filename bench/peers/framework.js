exports.handler = (request, response) => response.send('null');
