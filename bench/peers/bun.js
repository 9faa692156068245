Bun.serve({
    hostname: '127.0.0.1',
    port: Number(process.argv[2]),
    async fetch(request) {
        await request.text();
        return new Response('null');
    },
});
