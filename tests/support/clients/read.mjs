// Reads event streams side by side with one client library, as its users do.
//
// node read.mjs LIBRARY TYPES URL...   TYPES: event types to listen for, separated by commas
//
// Prints a line of JSON for each thing that the library yields: {url, type, data, id}, {url, data} of
// an SDK, or {url, error}. For an SDK the URL is the base URL of the API.

const [library, types, ...urls] = process.argv.slice(2);
const messages = [{ role: "user", content: "Hello" }];

async function* openai(baseURL) {
  const { default: OpenAI } = await import("openai");
  const client = new OpenAI({ baseURL, apiKey: "unused", maxRetries: 0 });
  const stream = await client.chat.completions.create({ model: "m", messages, stream: true });
  for await (const data of stream) yield { data };
}

async function* anthropic(baseURL) {
  const { default: Anthropic } = await import("@anthropic-ai/sdk");
  const client = new Anthropic({ baseURL, apiKey: "unused", maxRetries: 0 });
  const request = { model: "m", max_tokens: 16, messages, stream: true };
  for await (const data of await client.messages.create(request)) yield { data };
}

async function* eventsource(url) {
  const { EventSource } = await import("eventsource");
  const read = [];
  await new Promise((resolve, reject) => {
    const source = new EventSource(url);
    for (const name of types.split(",")) {
      source.addEventListener(name, ({ type, data, lastEventId }) => {
        read.push({ type, data, id: lastEventId });
      });
    }
    source.onerror = ({ message }) => {
      // The end of a stream is an error too, after which it would connect again.
      const isEnd = source.readyState === EventSource.CONNECTING;
      source.close();
      if (isEnd) resolve();
      else reject(new Error(message));
    };
  });
  yield* read;
}

async function* parser(url) {
  const { createParser } = await import("eventsource-parser");
  const read = [];
  const { feed } = createParser({
    onEvent: ({ event, data, id }) => read.push({ type: event, data, id }),
    onError: (error) => read.push({ error: String(error) }),
  });
  const { body } = await fetch(url);
  for await (const text of body.pipeThrough(new TextDecoderStream())) feed(text);
  yield* read;
}

const read = { openai, "@anthropic-ai/sdk": anthropic, eventsource, "eventsource-parser": parser };

async function print(url) {
  const line = (event) => console.log(JSON.stringify({ url, ...event }));
  try {
    for await (const event of read[library](url)) line(event);
  } catch (error) {
    line({ error: String(error) });
  }
}

await Promise.all(urls.map(print));
