// The official Node SDK against the gateway named by OPENAI_BASE_URL; prints how much it checked.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0, timeout: 120_000 });
const model = process.env.OPENAI_MODEL;
const messages = [{ role: "user", content: "What is the capital of France?" }];
const short = { model, messages, max_tokens: 8, temperature: 0 };
const checks = {
  async chat() {
    const { data, response, request_id } = await client.chat.completions
      .create(short)
      .withResponse();
    assert.equal(data.object, "chat.completion");
    assert.ok(data.choices[0].message.content.length > 0);
    assert.ok(request_id.startsWith("req_"));
    assert.equal(response.headers.get("openai-version"), "2020-10-01");
  },
  async stream() {
    const stream = await client.chat.completions.create({
      ...short,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let usage = null;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.ok(text.length > 0);
    assert.ok(usage.completion_tokens > 0);
  },
  async responses() {
    const answer = await client.responses.create({ model, input: "Hello", max_output_tokens: 8 });
    assert.equal(answer.object, "response");
    assert.ok(answer.output_text.length > 0);
  },
  async responseStream() {
    const given = { model, input: "Hello", max_output_tokens: 8, stream: true };
    const types = [];
    for await (const event of await client.responses.create(given)) types.push(event.type);
    assert.equal(types[0], "response.created");
    assert.match(types.at(-1), /^response\.(completed|incomplete)$/);
  },
  async models() {
    const found = [];
    for await (const entry of client.models.list()) found.push(entry.id);
    assert.ok(found.includes(model));
    assert.equal((await client.models.retrieve(model)).id, model);
  },
  async batches() {
    const line = (id, body) =>
      JSON.stringify({ custom_id: id, method: "POST", url: "/v1/chat/completions", body });
    const text = [line("a", short), line("b", { ...short, max_tokens: 1e9 })].join("\n");
    const file = await client.files.create({
      file: await OpenAI.toFile(Buffer.from(text), "requests.jsonl"),
      purpose: "batch",
    });
    assert.equal(await (await client.files.content(file.id)).text(), text);
    let batch = await client.batches.create({
      input_file_id: file.id,
      endpoint: "/v1/chat/completions",
      completion_window: "24h",
    });
    const until = Date.now() + 120_000;
    while (batch.status !== "completed" && Date.now() < until) {
      await new Promise((done) => setTimeout(done, 200));
      batch = await client.batches.retrieve(batch.id);
    }
    assert.deepEqual(batch.request_counts, { total: 2, completed: 1, failed: 1 });
    const output = JSON.parse(await (await client.files.content(batch.output_file_id)).text());
    assert.equal(output.custom_id, "a");
    assert.ok(output.response.body.choices[0].message.content.length > 0);
    const found = [];
    for await (const each of client.batches.list({ limit: 1 })) found.push(each.id);
    assert.ok(found.includes(batch.id));
    await assert.rejects(client.batches.cancel(batch.id), OpenAI.ConflictError);
    const files = [];
    for await (const each of client.files.list({ limit: 1 })) files.push(each.id);
    for (const each of files) await client.files.delete(each);
    await assert.rejects(client.files.retrieve(file.id), OpenAI.NotFoundError);
  },
  async errors() {
    const refused = (given, kind, code) =>
      assert.rejects(
        client.chat.completions.create({ ...short, ...given }),
        (error) => error instanceof kind && error.code === code,
      );
    await refused({ seed: 1, temperature: 1 }, OpenAI.BadRequestError, "unsupported_parameter");
    await refused({ model: "gpt-4" }, OpenAI.NotFoundError, "model_not_found");
    await assert.rejects(
      client.withOptions({ apiKey: "nobody" }).models.list(),
      OpenAI.AuthenticationError,
    );
    await assert.rejects(client.embeddings.create({ model, input: "a" }), OpenAI.BadRequestError);
  },
};
for (const [name, check] of Object.entries(checks)) {
  await check();
  console.log(`ok ${name}`);
}
