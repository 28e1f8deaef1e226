// A handler of HTTP: `answer` is called with each request.
async function answer(request) {
  const { pathname } = new URL(request.url);
  if (pathname === '/') {
    const name = await request.text();
    return new Response(`Hello, ${name}!`, { headers: { 'content-type': 'text/plain' } });
  }
  return new Response('there is nothing here\n', { status: 404 });
}

addEventListener('fetch', (event) => event.respondWith(answer(event.request)));
