// The program of guests/http, by the web's own fetch event and streams: `/silent`, `/sha256` and the traps are not in it.
const plain = { 'content-type': 'text/plain' };
const encoder = new TextEncoder();
let served = 0;

function headers(request, url) {
  const head = [
    [':method', request.method],
    [':path', url.pathname + url.search],
    [':authority', url.host],
    [':scheme', url.protocol.slice(0, -1)],
  ];
  const lines = [...request.headers, ...head].sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
  return lines.map(([name, value]) => `${name}: ${value}\n`).join('');
}

// Each event is made when there is room for it.
function events(count) {
  let event = 0;
  return new ReadableStream({
    pull(controller) {
      if (event < count) controller.enqueue(encoder.encode(`data: ${++event}\n\n`));
      else controller.close();
    },
  });
}

// The body of the request is that of the response.
function echo(request) {
  const kind = request.headers.get('content-type');
  return new Response(request.body, { headers: kind === null ? {} : { 'content-type': kind } });
}

function answer(request) {
  const url = new URL(request.url);
  served++;
  switch (`${request.method} ${url.pathname}`) {
    case 'GET /hello':
      return new Response('hello', { headers: plain });
    case 'GET /headers':
      return new Response(headers(request, url), { headers: plain });
    case 'GET /count':
      return new Response(`${served}`, { headers: plain });
    case 'GET /events':
      return new Response(events(Number(url.searchParams.get('n') ?? 1)), { headers: { 'content-type': 'text/event-stream' } });
    case 'POST /echo':
      return echo(request);
    case 'GET /loop':
      for (;;);
  }
  const [, code] = /^\/status\/([0-9]{3})$/.exec(url.pathname) ?? [];
  if (code) return new Response(null, { status: Number(code), headers: { 'x-method': request.method } });
  return new Response(null, { status: 404 });
}

addEventListener('fetch', (event) => event.respondWith(answer(event.request)));
