// Preloaded before a client whose requests say nothing of sampling: a small model that is sampled
// may never close a string, and is cut off at the limit. Nothing else of a request is touched.
const send = globalThis.fetch;

globalThis.fetch = (url, options) => {
  if (!options?.body) return send(url, options);
  const body = JSON.stringify({ temperature: 0, ...JSON.parse(options.body) });
  return send(url, { ...options, body });
};
