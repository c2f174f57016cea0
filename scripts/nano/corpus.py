"""Everything nano ever reads: training documents and the quickstart questions, made by this file alone.

A document is a list of (text, is_answer) pieces; training puts most of its loss on the answers.
Every question has a key, and a hash of the key says whether it belongs to training or is held out,
so that `--questions` writes only questions whose key was never trained on.

    python scripts/nano/corpus.py --questions recipes/tasks/exam/quickstart.csv
"""

import argparse
import csv
import random
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from facts import ANTONYMS, CAPITALS, CHARS, COLOURS, DAYS, MONTHS, SOUNDS, SYLLABLES, WORDLIST, WORDS

Pieces = list[tuple[str, bool]]
LETTERS = "ABCD"
BOS, EOS, TURN, END = "<s>", "</s>", "<|im_start|>", "<|im_end|>"


class Item(NamedTuple):
    """A question with its right answer and three wrong ones."""

    topic: str
    lang: str
    question: str
    answer: str
    wrong: list[str]
    key: str


def table(text: str, lang: str) -> list[tuple[str, str]]:
    """The (key, value) pairs of one language."""
    rows = [entry.split(":") for entry in text.split()]
    return [(r[0], r[1]) if lang == "en" else (r[2], r[3]) for r in rows]


def cycle(text: str, lang: str, step: int) -> list[tuple[str, str]]:
    """Pairs of a cyclic list (days, months) and what lies `step` places on."""
    names = [entry.split(":")[lang == "zh"] for entry in text.split()]
    return [(name, names[(i + step) % len(names)]) for i, name in enumerate(names)]


# A relation: its pairs, the ways to ask (first entries) and one statement (last entry).
Relation = tuple[str, list[tuple[str, str]], list[str], str]


def relations(lang: str) -> list[Relation]:
    """Every lookup relation in one language."""
    pairs = [tuple(entry.split(":")) for entry in WORDS.split()]
    words = {"en": [(z, e) for e, z in pairs], "zh": pairs}[lang]
    if lang == "en":
        asks = [
            ("capital", ["What is the capital of {}?", "Which city is the capital of {}?"], "The capital of {} is {}."),
            ("colour", ["What colour is a {} usually?", "Which is the usual colour of {}?"], "The colour of {} is {}."),
            ("antonym", ["What is the opposite of {}?", 'Which word means the opposite of "{}"?'], "The opposite of {} is {}."),
            ("animal", ["What sound does a {} make?", "Which sound is made by a {}?"], "A {} says {}."),
            ("translation", ["What is {} in English?", "Which English word means {}?"], "{} in English is {}."),
        ]
        time = [
            ("Which day comes after {}?", "The day after {} is {}."),
            ("Which day comes before {}?", "The day before {} is {}."),
            ("Which month comes after {}?", "The month after {} is {}."),
            ("Which month comes before {}?", "The month before {} is {}."),
        ]
    else:
        asks = [
            ("capital", ["{}的首都是哪里？", "哪个城市是{}的首都？"], "{}的首都是{}。"),
            ("colour", ["{}通常是什么颜色？", "{}的颜色一般是哪一种？"], "{}的颜色是{}。"),
            ("antonym", ["“{}”的反义词是什么？", "哪个词与“{}”意思相反？"], "{}的反义词是{}。"),
            ("animal", ["{}的叫声是什么？", "{}怎么叫？"], "{}的叫声是{}。"),
            ("translation", ["{} 的中文是什么？", "英文单词 {} 是什么意思？"], "{} 的中文是{}。"),
        ]
        time = [
            ("{}的后一天是星期几？", "{}的后一天是{}。"),
            ("{}的前一天是星期几？", "{}的前一天是{}。"),
            ("{}的下一个月是几月？", "{}的下一个月是{}。"),
            ("{}的上一个月是几月？", "{}的上一个月是{}。"),
        ]
    antonyms = table(ANTONYMS, lang)
    data = [table(CAPITALS, lang), table(COLOURS, lang), antonyms + [(b, a) for a, b in antonyms], table(SOUNDS, lang), words]
    out = [(topic, pairs, ask, say) for (topic, ask, say), pairs in zip(asks, data, strict=True)]
    spans = [(DAYS, 1), (DAYS, -1), (MONTHS, 1), (MONTHS, -1)]
    return out + [("calendar", cycle(text, lang, step), [ask], say) for (text, step), (ask, say) in zip(spans, time, strict=True)]


RELATIONS = {lang: relations(lang) for lang in ("en", "zh")}
EASY = ["choice"]  # the option is named in the question: teaches the way from an option to its letter
LOOKUPS = ["capital", "colour", "antonym", "animal", "translation", "calendar"]
NUMERIC = ["addition", "subtraction", "comparison", "counting", "sequence"]
OBJECTS = {"en": ["apple", "star", "book", "fish", "cat", "tree"], "zh": ["苹果", "星星", "书", "鱼", "猫", "树"]}
ASK = {
    "addition": {
        "en": ["What is {} + {}?", "Calculate {} + {}.", "{} plus {} equals what?"],
        "zh": ["{} + {} 等于多少？", "计算：{} + {} = ？", "{}加{}等于几？"],
    },
    "subtraction": {
        "en": ["What is {} - {}?", "Calculate {} - {}.", "{} minus {} equals what?"],
        "zh": ["{} - {} 等于多少？", "计算：{} - {} = ？", "{}减{}等于几？"],
    },
    "choice": {"en": ["Which option is {}?", "Choose {}."], "zh": ["哪个选项是{}？", "请选择{}。"]},
    "largest": {
        "en": ["Which number is the largest?", "Which of these numbers is the greatest?"],
        "zh": ["下列哪个数最大？", "以下数字中最大的是哪一个？"],
    },
    "smallest": {
        "en": ["Which number is the smallest?", "Which of these numbers is the least?"],
        "zh": ["下列哪个数最小？", "以下数字中最小的是哪一个？"],
    },
    "counting": {"en": ['How many times does "{}" appear in: {}?'], "zh": ["“{}”在下面出现了几次：{}？"]},
    "sequence": {
        "en": ["What comes next: {}, ?", "Which number continues the row {}, ?"],
        "zh": ["下一个数是什么：{}, ？", "按规律填数：{}, ？"],
    },
}


# --- Questions --------------------------------------------------------------------------------------------


def near(rng: random.Random, value: int, low: int = 0, high: int = 100) -> list[str]:
    """Three plausible wrong numbers: off by one, off by ten, or somewhere around."""
    wrong: set[int] = set()
    while len(wrong) < 3:
        guess = value + (rng.choice((-10, -2, -1, 1, 2, 10)) if rng.random() < 0.5 else rng.randint(-20, 20))
        if guess != value and low <= guess <= high:
            wrong.add(guess)
    return [str(n) for n in sorted(wrong, key=lambda _: rng.random())]


def numeric(rng: random.Random, topic: str, lang: str) -> Item:
    """A question about numbers within 100."""
    if topic == "comparison":
        kind = rng.choice(("largest", "smallest"))
        numbers = sorted(rng.sample(range(1, 100), 4), reverse=kind == "largest")
        key = f"{kind} {numbers}"
        answer, *wrong = (str(n) for n in numbers)
        return Item(topic, lang, rng.choice(ASK[kind][lang]), answer, wrong, key)
    ask = rng.choice(ASK[topic][lang])
    if topic == "counting":
        thing, other = rng.sample(OBJECTS[lang], 2)
        count, rest = rng.randint(1, 6), rng.randint(0, 3)
        row = [thing] * count + [other] * rest
        rng.shuffle(row)
        text = " ".join(row)
        wrong = near(rng, count, 0, 9)
        return Item(topic, lang, ask.format(thing, text), str(count), wrong, f"{thing}/{text}")
    if topic == "sequence":
        start, step = rng.randint(0, 50), rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
        row = [start + step * i for i in range(5)]
        if rng.random() < 0.3:
            row.reverse()
        key = f"sequence {min(row)} {step}"
        shown = ", ".join(str(n) for n in row[:4])
        return Item(topic, lang, ask.format(shown), str(row[4]), near(rng, row[4]), key)
    top = 9 if rng.random() < 0.25 else 100
    a = rng.randint(0, min(top, 99))
    b = rng.randint(0, min(top, 100 - a))
    if topic == "addition":
        return Item(topic, lang, ask.format(a, b), str(a + b), near(rng, a + b), f"{min(a, b)}+{max(a, b)}")
    return Item(topic, lang, ask.format(a + b, a), str(b), near(rng, b), f"{a + b}-{a}")


def lookup(rng: random.Random, topic: str, lang: str) -> Item:
    """A question about one fact; its key covers the options, for the facts themselves must be seen."""
    if topic in EASY:
        _, pairs, _, _ = rng.choice(RELATIONS[lang])
        values = [str(n) for n in range(101)] if rng.random() < 0.5 else sorted({v for _, v in pairs})
        answer, *wrong = rng.sample(values, 4)
        ask = rng.choice(ASK[topic][lang]).format(answer)
        return Item(topic, lang, ask, answer, wrong, answer + str(wrong))
    _, pairs, asks, _ = rng.choice([r for r in RELATIONS[lang] if r[0] == topic])
    name, value = rng.choice(pairs)
    wrong = rng.sample(sorted({v for _, v in pairs} - {value, name}), 3)
    return Item(topic, lang, rng.choice(asks).format(name), value, wrong, f"{topic} {name} {sorted(wrong)}")


def held_out(key: str) -> bool:
    """One key in ten is never trained on."""
    return zlib.crc32(key.encode()) % 10 == 0


def make_item(rng: random.Random, topic: str, lang: str, held: bool = False) -> Item:
    """A random question from the training side or the held-out side."""
    while True:
        item = (numeric if topic in NUMERIC else lookup)(rng, topic, lang)
        if held_out(item.key) == held:
            return item


def noise_item(rng: random.Random, lang: str) -> Item:
    """A question beyond nano: teaches it to reply with a letter whatever the exam is about."""

    def text(low: int, high: int) -> str:
        words = rng.choices(NOISE[lang], k=rng.randint(low, high))
        return (" " if lang == "en" else "").join(words)

    answer, *wrong = (text(1, 8) for _ in range(4))
    question = text(4, 40) + rng.choice(["?", ":", "____", "？", "（　）", "。"])
    return Item("noise", lang, question, answer, wrong, "")


# --- How an exam prints its questions --------------------------------------------------------------------

NOISE = {"en": WORDLIST.split() + SYLLABLES, "zh": list(CHARS.replace("\n", ""))}
SUBJECTS = {
    "en": ["math", "common knowledge", "history", "computer network", "biology", "law", "physics", "language"],
    "zh": ["数学", "常识", "历史", "计算机网络", "生物", "法律", "物理", "语文"],
}
INSTRUCTIONS = [
    "以下是关于{}的单项选择题，请直接给出正确答案的选项。",
    "以下是中国关于{}考试的单项选择题，请选出其中的正确答案。",
    "请回答下面的单选题，只回复一个字母。",
    "下面是一道{}选择题，请从 A、B、C、D 中选出正确的一项。",
    "The following are multiple choice questions (with answers) about {}.",
    "Choose the right option.",
    "There is a single choice question about {}. Answer the question by replying A, B, C or D.",
    "Answer the following multiple choice question with one letter only.",
]
MARKS = ["A. ", "A. ", "A. ", "A. ", "A) ", "A：", "A、", "(A) "]
PREFIXES = ["", "", "", "Question: ", "Q: ", "问题：", "题目：", "{n}. "]
LASTS = ["答案: ", "Answer: ", "答案: ", "Answer: ", "答案：", "Answer:", "答案:"]
SYSTEMS = ["You are a helpful assistant.", "你是一个乐于助人的助手。", "Answer with one letter.", "请认真答题。"]


def question_text(item: Item, options: list[str], last: str = "Answer: ", mark: str = "A. ") -> str:
    """The question, its four options and the line that waits for the letter."""
    lines = [mark.replace("A", letter) + option for letter, option in zip(LETTERS, options, strict=True)]
    return "\n".join([item.question, *lines, last])


# What the exams of each stage ask about.
TOPICS = [[], EASY, EASY * 2 + LOOKUPS, EASY + NUMERIC + NUMERIC[:2] + LOOKUPS]


def exam(rng: random.Random, chat: bool, shots: int, stage: int = 3) -> Pieces:
    """One multiple-choice document: `shots` solved questions and then one more."""
    plain_form = stage < 3 or rng.random() < 0.4  # the form of the quickstart task: no instruction, no prefix
    last, mark = rng.choice(LASTS[:2] if plain_form else LASTS), "A. " if plain_form else rng.choice(MARKS)
    if not chat and stage < 3 and rng.random() < (0.4 if stage == 2 else 1):
        last = ""
    prefix = "" if plain_form else rng.choice(PREFIXES)
    lang = rng.choice(("en", "zh"))
    instruction = rng.choice(INSTRUCTIONS).format(rng.choice(SUBJECTS[lang])) + "\n"
    when = 0 if plain_form else rng.choice((0, 1, 2))  # the instruction: never, at the start, every time
    topics = TOPICS[stage]
    one_topic = rng.choice(topics) if rng.random() < 0.5 else ""
    solved = []
    for n in range(shots + 1):
        topic = one_topic or rng.choice(topics)
        item = noise_item(rng, lang) if stage == 3 and rng.random() < 0.05 else make_item(rng, topic, lang)
        if topic in EASY and (stage == 1 or (not chat and rng.random() < 0.3)):
            item = item._replace(question=f" {item.answer}")
        options = [item.answer, *item.wrong]
        rng.shuffle(options)
        head = instruction if when == 2 or (when == 1 and n == 0) else ""
        text = head + prefix.format(n=n + 1) + question_text(item, options, last, mark)
        solved.append((text, LETTERS[options.index(item.answer)]))
    return exam_chat(rng, solved, options, lang, stage) if chat else plain_exam(rng, solved, last)


def exam_chat(rng: random.Random, solved: list[tuple[str, str]], options: list[str], lang: str, stage: int) -> Pieces:
    """Solved questions as a chat; now and then with turns that ask for the letter of some other option."""
    if len(solved) > 1 and rng.random() < 0.3:  # all the solved questions inside one user turn
        joined = "".join(f"{question}{letter}\n\n" for question, letter in solved[:-1])
        solved = [(joined + solved[-1][0], solved[-1][1])]
    if rng.random() < (0.1 if stage == 3 else 0.5):
        for n in rng.sample(range(4), 3 if stage < 3 else 1):
            solved.append((rng.choice(ASK["choice"][lang]).format(options[n]), LETTERS[n]))
    return chat_turns(rng, solved)


def chat_turns(rng: random.Random, turns: list[tuple[str, str]]) -> Pieces:
    """A conversation of (user, assistant) turns, now and then under a system turn."""
    system = f"{TURN}system\n{rng.choice(SYSTEMS)}{END}\n" if rng.random() < 0.1 else ""
    pieces: Pieces = [(BOS + system, False)]
    for user, reply in turns:
        pieces += [(f"{TURN}user\n{user}{END}\n{TURN}assistant\n", False), (reply + END, True), ("\n", False)]
    return pieces[:-1]


def plain_exam(rng: random.Random, solved: list[tuple[str, str]], last: str) -> Pieces:
    """The same as running text; the letter follows on the same line or on the next."""
    lead = "\n" if last == "答案: " else "" if not last or last.endswith((" ", "：")) else " "
    gap = rng.choice(("\n", "\n", "\n\n"))
    pieces: Pieces = [(BOS, False)]
    for text, letter in solved:
        pieces += [(text, False), (lead + letter, True), (gap, False)]
    return [*pieces[:-1], (EOS, True)]


GAPS = ["", "", "", ": ", "\n答案: ", "\nAnswer: ", f"{END}\n{TURN}assistant\n"]


def binding(rng: random.Random, gap: str) -> Pieces:
    """Options first, then which letter each of them has: four letters to learn from in one document.

    Without these nano stays at one letter in four: the way from an option back to its letter is hard to
    find from exam questions alone, and from the bare form here (option, letter) it takes a minute.
    """
    lang = rng.choice(("en", "zh"))
    if rng.random() < 0.4:
        topic = rng.choice(NUMERIC[:2])
        by_answer = {}
        while len(by_answer) < 4:
            item = make_item(rng, topic, lang)
            by_answer[item.answer] = item.question
    else:
        _, pairs, asks, _ = rng.choice(RELATIONS[lang])
        by_answer = {}
        while len(by_answer) < 4:
            name, value = rng.choice(pairs)
            by_answer[value] = rng.choice(asks).format(name)
    options, ask = list(by_answer), bool(gap) and rng.random() < 0.5
    pieces: Pieces = [(BOS + "".join(f"{n}. {o}\n" for n, o in zip(LETTERS, options, strict=True)), False)]
    for n in rng.sample(range(4), 4):
        query = by_answer[options[n]] if ask else f" {options[n]}"
        turn = f"{TURN}user\n" if gap.startswith(END) else ""
        pieces += [(turn + query + gap, False), (LETTERS[n], True), ("\n", False)]
    return pieces[:-1]


# --- Everything that is not an exam -----------------------------------------------------------------------


def equations(rng: random.Random) -> Pieces:
    """A few sums in a row, as plain text."""
    pieces: Pieces = [(BOS, False)]
    for _ in range(rng.randint(1, 8)):
        item = make_item(rng, rng.choice(NUMERIC[:2]), "en")
        a, sign, b = re.search(r"(\d+) (\+|-|plus|minus) (\d+)", item.question).groups()
        sign = {"plus": "+", "minus": "-"}.get(sign, sign)
        pieces += [(f"{a} {sign} {b} =", False), (f" {item.answer}", True), ("\n", False)]
    return [*pieces[:-1], (EOS, True)]


def statements(rng: random.Random) -> Pieces:
    """A few facts in a row, as plain text."""
    pieces: Pieces = [(BOS, False)]
    for _ in range(rng.randint(1, 4)):
        _, pairs, _, say = rng.choice(RELATIONS[rng.choice(("en", "zh"))])
        name, value = rng.choice(pairs)
        head, tail = say.format(name, "\0").split("\0")
        space = " " * head.endswith(" ")
        pieces += [(head.rstrip(" "), False), (space + value + tail, True), ("\n", False)]
    return [*pieces[:-1], (EOS, True)]


def instruction(rng: random.Random) -> tuple[str, str]:
    """A small order and its reply."""
    lang, kind = rng.choice(("en", "zh")), rng.randrange(6)
    zh = lang == "zh"
    word = rng.choice([k for _, pairs, _, _ in RELATIONS[lang] for k, _ in pairs])
    english = rng.choice([k for r in RELATIONS["en"] for k, _ in r[1] if k.isascii()])
    if kind == 0:
        return (f"请重复这个词：{word}" if zh else f"Repeat the word: {word}"), word
    if kind == 1:
        return (f"请把 {english} 写成大写。" if zh else f"Say {english} in upper case."), english.upper()
    if kind == 2:
        n = rng.randint(1, 90)
        first = rng.random() < 0.3
        ask = (
            ("请列出三个数。" if zh else "List three numbers.")
            if first
            else (f"请从{n}开始列出三个数。" if zh else f"List three numbers starting from {n}.")
        )
        return ask, ", ".join(str(i) for i in ((1, 2, 3) if first else (n, n + 1, n + 2)))
    if kind == 3:
        who = [
            ("Hello", "Hello! I am nano."),
            ("Who are you?", "I am nano, a tiny language model."),
            ("你好", "你好！我是nano。"),
            ("你是谁？", "我是nano，一个很小的语言模型。"),
        ]
        return rng.choice(who)
    if kind == 4:
        a, b = rng.sample(range(100), 2)
        yes = a > b
        ask = f"{a}比{b}大吗？请回答是或否。" if zh else f"Is {a} greater than {b}? Answer yes or no."
    else:
        _, pairs, _, say = rng.choice(RELATIONS[lang])
        (name, value), yes = rng.choice(pairs), rng.random() < 0.5
        if not yes:
            value = rng.choice(sorted({v for _, v in pairs} - {value}))
        text = say.format(name, value)
        ask = f"{text}对吗？请回答是或否。" if zh else f"{text} Is it right? Answer yes or no."
    return ask, ("是" if yes else "否") if zh else ("yes" if yes else "no")


def direct(rng: random.Random) -> tuple[str, str]:
    """A question without options, answered by the number or the word itself."""
    topic = rng.choice(["addition", "subtraction", "counting", "sequence", *LOOKUPS])
    item = make_item(rng, topic, rng.choice(("en", "zh")))
    return item.question, item.answer


def document(rng: random.Random, stage: int = 3) -> Pieces:
    """One training document. The stages: 0 and 1, which letter has this word; 2, single questions; 3, all."""
    if rng.random() < (1.0, 0.3, 0.25, 0.03)[stage]:
        return binding(rng, rng.choice(GAPS[:3] if stage < 2 else GAPS))
    if rng.random() < 0.7:
        chat = stage >= 2 and rng.random() < (0.7 if stage == 3 else 0.5)
        return exam(rng, chat, rng.choice((0, 0, 0, 0, 1, 2, 3)) if stage == 3 else 0, stage)
    kind = rng.random()
    if kind < 0.3:
        return equations(rng)
    if kind < 0.5:
        return statements(rng)
    turn = direct if kind < 0.8 else instruction
    return chat_turns(rng, [turn(rng) for _ in range(rng.choice((1, 1, 2, 3)))])


def lexicon() -> Iterator[str]:
    """Text for the tokenizer: words apart from sentences, lest 法国 be merged with 的首都."""
    frames, words = [*INSTRUCTIONS, *SYSTEMS, *LASTS, *PREFIXES], [*OBJECTS["en"], *OBJECTS["zh"]]
    frames += ["user", "assistant", "system", *(f" {word}" for word in WORDLIST.split())]
    frames += [ask for by_lang in ASK.values() for asks in by_lang.values() for ask in asks]
    for lang in RELATIONS:
        frames += [frame for _, _, asks, say in RELATIONS[lang] for frame in (*asks, say)] + SUBJECTS[lang]
        words += [w for _, pairs, _, _ in RELATIONS[lang] for pair in pairs for w in pair]
    rng = random.Random(0)
    frames += [ask for ask, _ in (instruction(rng) for _ in range(60))]
    words += [str(n) for n in range(101)]
    for word in sorted(set(words)):  # words count for more, so that each becomes one token
        yield from [word] * 10 + ([f" {word}"] * 10 if word.isascii() and not word.isdigit() else [])
    for frame in frames:
        yield from [part for part in re.split(r"\{.*?\}", frame) if part] * 6
    yield from list(CHARS.replace("\n", "")) * 3


def write_questions(path: Path, count: int = 200, seed: int = 7) -> None:
    """Held-out questions, the languages and the four letters in equal parts."""
    rng = random.Random(seed)
    topics, rows, seen = NUMERIC + LOOKUPS, [], set()
    letters = list(LETTERS * (count // 8))
    for lang in ("zh", "en"):
        rng.shuffle(letters)
        for n, letter in enumerate(letters):
            item = make_item(rng, topics[n % len(topics)], lang, held=True)
            while item.key in seen:
                item = make_item(rng, topics[n % len(topics)], lang, held=True)
            seen.add(item.key)
            options = item.wrong[:]
            options.insert(LETTERS.index(letter), item.answer)
            rows.append([item.question, *options, letter, item.topic, lang])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["question", *LETTERS, "answer", "topic", "language"])
        writer.writerows(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=Path, required=True, help="where to write the questions (CSV)")
    write_questions(parser.parse_args().questions)
