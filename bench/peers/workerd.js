export default {
    async fetch(request) {
        await request.text();
        return new Response('null');
    },
};
