// Keeps this version of the page for when there is no network, and lets go of those before.
const version = 'VERSION';
const prefix = `fruitapp ${self.registration.scope} `;
const folder = `assets-${version}/`;
const kept = ['./', 'index.html', 'manifest.webmanifest', ..."ASSETS".map((name) => folder + name)];

self.addEventListener('install', (event) => {
  const keep = async () => {
    const cache = await caches.open(prefix + version);
    // 'no-cache': index.html has to be the one of this version, and not what the browser holds.
    await cache.addAll(kept.map((name) => new Request(name, { cache: name.startsWith(folder) ? 'default' : 'no-cache' })));
    await self.skipWaiting();
  };
  event.waitUntil(keep());
});

self.addEventListener('activate', (event) => {
  const tidy = async () => {
    const old = (await caches.keys()).filter((name) => name.startsWith(prefix) && name !== prefix + version);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(tidy());
});

self.addEventListener('fetch', (event) => {
  const { request } = event;
  if (request.method !== 'GET' || new URL(request.url).origin !== self.location.origin) return;
  const cached = async () => (await caches.open(prefix + version)).match(request, { ignoreSearch: request.mode === 'navigate' });
  const answer = async () => {
    // A page is asked for anew, so that the next night's comes; what it is made of never changes under its name.
    if (request.mode === 'navigate') {
      try {
        return await fetch(request);
      } catch (error) {
        return (await cached()) ?? Promise.reject(error);
      }
    }
    return (await cached()) ?? fetch(request);
  };
  event.respondWith(answer());
});
