Deno.serve({ hostname: '127.0.0.1', port: Number(Deno.args[0]), onListen() {} }, async (request) => {
    await request.text();
    return new Response('null');
});
