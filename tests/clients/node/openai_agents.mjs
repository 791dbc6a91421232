// OpenAI's Agents SDK against BASE_URL, on one of OpenAI's APIs: prints one line of JSON with what its tool got and its answer.
import { Agent, OpenAIProvider, Runner, tool } from "@openai/agents";
import { z } from "zod";

const [baseURL, model, how, api] = process.argv.slice(2);
const modelProvider = new OpenAIProvider({ baseURL, apiKey: "none", useResponses: api === "responses" });
const places = [];
const agent = new Agent({
  name: "a",
  model,
  tools: [
    tool({
      name: "get_current_weather",
      description: "Tells the weather.",
      parameters: z.object({ location: z.string() }),
      execute: async ({ location }) => {
        places.push(location);
        return "32F, clear skies";
      },
    }),
  ],
});
const stream = how === "stream";
const result = await new Runner({ modelProvider, tracingDisabled: true }).run(agent, "What's the weather like in Boston today?", { stream });
if (stream) await result.completed;
console.log(JSON.stringify({ places, text: result.finalOutput }));
