// The Vercel AI SDK's agent loop against BASE_URL, on one of the sidecar's three APIs: prints one line of JSON with what its tool got and its answer.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [baseURL, model, how, api, kept] = process.argv.slice(2);
const apiKey = "none";
const apis = {
  chat: () => createOpenAICompatible({ name: "callwright", baseURL, apiKey, includeUsage: true }).chatModel(model),
  messages: () => createAnthropic({ baseURL, apiKey })(model),
  responses: () => createOpenAI({ baseURL, apiKey }).responses(model),
};
const places = [];
const asked = {
  model: apis[api](),
  prompt: "What's the weather like in Boston today?",
  providerOptions: { openai: kept ? {} : { store: false, include: ["reasoning.encrypted_content"] } },
  maxOutputTokens: 200,
  stopWhen: stepCountIs(5),
  tools: {
    get_current_weather: tool({
      description: "Tells the weather.",
      inputSchema: z.object({ location: z.string() }),
      execute: async ({ location }) => {
        places.push(location);
        return "32F, clear skies";
      },
    }),
  },
  onError: ({ error }) => {
    throw error;
  },
};
const result = how === "stream" ? streamText(asked) : await generateText(asked);
if (how === "stream") await result.consumeStream();
const steps = await result.steps;
console.log(JSON.stringify({
  places,
  text: await result.text,
  reasons: steps.map((step) => step.finishReason),
  tokens: steps.map((step) => step.usage.outputTokens),
}));
