"""Text-only questions, so that the demo model keeps what SmolLM2 knows, and prompts by which it writes facts."""

from __future__ import annotations

import random
import re

from recipes.demo_model.bank import is_held_out
from recipes.demo_model.categories import with_article

HELD_OUT_NOUNS = (
    "violin", "mirror", "lake", "mountain", "glacier", "ant", "oak", "cactus", "carrot", "sandwich", "submarine",
)  # fmt: skip
"""Nouns whose hash puts them on the held-out side, for questions where the images' names are not at hand."""

ABOUT = (
    "What is {a}?",
    "Tell me about {a}.",
    "Give me three facts about {a}.",
    "Write a very short story about {a}.",
    "How would you describe {a} to a child?",
    "Where can you find {a}?",
    "Write a short poem about {a}.",
    "Why might someone draw {a}?",
    "What is {a} used for, or what does it do?",
    "Write one paragraph about {a}.",
)
TOPICS = (
    "the sea", "winter", "friendship", "cooking at home", "learning a language", "the moon", "sleep", "gravity", "rain",
    "planting a garden", "riding a bicycle", "reading books", "volcanoes", "the solar system", "healthy food", "music",
    "a good breakfast", "city life", "recycling", "electricity", "painting", "magnets", "writing letters",
    "trees in autumn", "computers", "photography", "the human heart", "train journeys", "democracy",
    "bread", "clouds", "saving money",
)  # fmt: skip
ON_TOPICS = (
    "Explain {t} in simple words.",
    "Write a short text about {t}.",
    "Give me three tips about {t}.",
    "Why is {t} important?",
    "Write an email to a friend about {t}.",
    "What should a beginner know about {t}?",
)
FACT = "In two short sentences, describe what {a} is."


def text_questions(nouns: list[str], held_out: bool, count: int, seed: int) -> list[str]:
    """Questions about nouns and topics; a noun or topic belongs to one side, by its hash."""
    rng = random.Random(f"{seed} texts")
    sided_nouns = [noun for noun in sorted(set(nouns)) if is_held_out(f"text {noun}") == held_out]
    sided_topics = [topic for topic in TOPICS if is_held_out(f"text {topic}") == held_out] or [TOPICS[0]]
    questions: list[str] = []
    pairs = [(form, topic) for form in ON_TOPICS for topic in sided_topics]
    rng.shuffle(pairs)
    for number in range(count):
        if number % 5 == 0 and pairs:
            form, topic = pairs.pop()
            questions.append(form.format(t=topic))
        elif number % 11 == 1:
            questions.append(arithmetic(rng))
        else:
            questions.append(rng.choice(ABOUT).format(a=with_article(rng.choice(sided_nouns))))
    return list(dict.fromkeys(questions))


def arithmetic(rng: random.Random) -> str:
    first, second = rng.randint(2, 40), rng.randint(2, 20)
    return f"What is {first} {rng.choice(('plus', 'times', 'minus'))} {second}?"


def fact_question(noun: str) -> str:
    return FACT.format(a=with_article(noun))


def clean_fact(text: str) -> str:
    """Whole sentences only, at most three; empty when the text is of no use as an answer about an image."""
    flat = re.sub(r"\s+", " ", text).strip()
    sentences = re.findall(r"[^.!?]+[.!?]", flat)[:3]
    fact = " ".join(sentence.strip() for sentence in sentences)
    refused = re.search(r"\b(I am|I'm|as an AI|sorry|here is|here are|sentence|\d\.)|[\[\]*:#]", fact, re.IGNORECASE)
    words = fact.lower().split()
    runs = [tuple(words[start : start + 4]) for start in range(len(words) - 3)]
    # A small model that starts to repeat itself has run out of things to say.
    return "" if refused or not 8 <= len(words) <= 60 or len(set(runs)) < len(runs) else fact
