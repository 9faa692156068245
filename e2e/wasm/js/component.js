// A component made from JavaScript that answers HTTP.

let calls = 0;

async function answer(request) {
  calls += 1;
  const url = new URL(request.url);
  if (url.pathname === '/throw') throw new Error('asked to');
  if (url.pathname === '/spin') for (;;);
  console.log(`printed for ${url.pathname}`);
  const body = await request.text();
  const headers = Object.fromEntries(request.headers);
  const told = { method: request.method, path: url.pathname + url.search, headers, body, calls };
  return new Response(JSON.stringify(told), { status: 201, headers: { 'content-type': 'application/json' } });
}

addEventListener('fetch', (event) => event.respondWith(answer(event.request)));
