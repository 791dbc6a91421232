"""Chats without any form, as people talk: what the replay set and the forgetting measure are drawn from."""

import random

from callwright.demo.phrases import Chat, some_value
from callwright.demo.words import ADJECTIVES, NOUNS


def general_chat(rng: random.Random) -> Chat:
    """Return one chat without any form, as people talk: what the replay set and the forgetting measure are drawn
    from.
    """
    return rng.choice((_small_talk, _passage, _word_game))(rng)


def _small_talk(rng: random.Random) -> Chat:
    noun, adjective, other = rng.choice(NOUNS), rng.choice(ADJECTIVES), rng.choice(NOUNS)
    person = some_value(rng, "person")[1]
    return list(
        rng.choice(
            (
                [("user", f"Hello, I am {person}."), ("assistant", f"Hello {person}, how can I help you?")],
                [
                    ("user", f"I like my {adjective} {noun}."),
                    ("assistant", f"It is nice that you like your {adjective} {noun}."),
                ],
                [("user", "Thank you!"), ("assistant", "You are welcome.")],
                [
                    ("user", f"My {noun} is {adjective}. What should I do?"),
                    ("assistant", f"If your {noun} is {adjective}, look for another {noun}."),
                ],
                [
                    ("user", f"Do you want the {noun} or the {other}?"),
                    ("assistant", f"I would take the {rng.choice((noun, other))}."),
                ],
                [
                    ("user", f"Write a line about a {noun}."),
                    ("assistant", f"The {adjective} {noun} is near the {other}."),
                ],
                [("user", "Who are you?"), ("assistant", "I am a small model that helps people with their questions.")],
            )
        )
    )


def _passage(rng: random.Random) -> Chat:
    facts = []
    for _ in range(rng.randint(2, 5)):
        person, city, thing = some_value(rng, "person")[1], some_value(rng, "city")[1], rng.choice(NOUNS)
        facts.append((person, city, f"{rng.choice(ADJECTIVES)} {thing}", some_value(rng, "count")[1]))
    text = " ".join(f"{p} lives in {c} and has {n} {t}s." for p, c, t, n in facts)
    person, city, thing, number = rng.choice(facts)
    ask, answer = rng.choice(
        (
            (f"Where does {person} live?", f"{person} lives in {city}."),
            (f"Who lives in {city}?", f"{person} lives in {city}."),
            (f"How many {thing}s does {person} have?", f"{person} has {number} {thing}s."),
            (f"What does {person} have?", f"{person} has {number} {thing}s."),
        )
    )
    return [("user", f"{text}\n{ask}"), ("assistant", answer)]


def _word_game(rng: random.Random) -> Chat:
    words = rng.sample(NOUNS, rng.randint(3, 6))
    listed = ", ".join(words)
    index = rng.randrange(len(words))
    ordinal = ("first", "second", "third", "fourth", "fifth", "sixth")[index]
    return list(
        rng.choice(
            (
                [("user", f"Sort these words: {listed}"), ("assistant", ", ".join(sorted(words)))],
                [
                    ("user", f"Write these words backwards in order: {listed}"),
                    ("assistant", ", ".join(reversed(words))),
                ],
                [("user", f"How many words are these? {listed}"), ("assistant", f"These are {len(words)} words.")],
                [
                    ("user", f"What is the {ordinal} word? {listed}"),
                    ("assistant", f"The {ordinal} word is {words[index]}."),
                ],
                [
                    ("user", f"Make one word in capitals of each: {listed}"),
                    ("assistant", ", ".join(w.capitalize() for w in words)),
                ],
            )
        )
    )
