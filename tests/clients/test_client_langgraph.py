"""A LangGraph graph of a model and its tools, whole and streamed token by token."""

import pytest
from playing import QUESTION, WeatherTool, also_learned, needs

needs("langgraph")
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition


@also_learned
@pytest.mark.parametrize("streamed", [False, True])
def test_a_graph_calls_its_tool_and_answers(
    base_url: str, model: str, streamed: bool, weather: WeatherTool, places: list[str]
) -> None:
    llm = ChatOpenAI(model=model, base_url=base_url).bind_tools([tool(weather)])
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [llm.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([tool(weather)]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    asked = {"messages": [{"role": "user", "content": QUESTION}]}
    if streamed:
        told = graph.compile().stream(asked, stream_mode="messages")
        text = "".join(str(chunk.content) for chunk, about in told if about["langgraph_node"] == "model")
    else:
        text = graph.compile().invoke(asked)["messages"][-1].content
    assert "32F" in text
    assert places == ["Boston"]
