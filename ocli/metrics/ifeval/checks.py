"""IFEval's 25 checks, by the name that the data has for them: a reply and the instruction's arguments in, whether it follows out.

They find what Google's ``instructions.py`` finds, its slips included (a keyword is a regular expression and may lie inside a
word), since scores are compared. One is mended: a ``letter`` that is none (``#``, ``!``) is counted, where Google's draws another
at random each time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Literal, TypeVar

from ocli.metrics.ifeval.english import language as language_of
from ocli.metrics.ifeval.english import sentences, tokens

Relation = Literal["at least", "less than"]
_Function = TypeVar("_Function", bound=Callable[..., bool])

CHECKS: dict[str, Callable[..., bool]] = {}

OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def check(name: str) -> Callable[[_Function], _Function]:
    """Register a check under an instruction's name (decorator)."""

    def register(function: _Function) -> _Function:
        CHECKS[name] = function
        return function

    return register


def _compare(count: int, relation: Relation, limit: int) -> bool:
    return count >= limit if relation == "at least" else count < limit


@check("keywords:existence")
def has_keywords(reply: str, *, keywords: list[str]) -> bool:
    """Every keyword occurs, also inside a word."""
    return all(re.search(keyword, reply, re.IGNORECASE) for keyword in keywords)


@check("keywords:frequency")
def counts_keyword(reply: str, *, keyword: str, frequency: int, relation: Relation) -> bool:
    """A keyword occurs so often, also inside words."""
    return _compare(len(re.findall(keyword.strip(), reply, re.IGNORECASE)), relation, frequency)


@check("keywords:forbidden_words")
def lacks_words(reply: str, *, forbidden_words: list[str]) -> bool:
    """None of these words occurs as a whole word."""
    return not any(re.search(rf"\b{word}\b", reply, re.IGNORECASE) for word in forbidden_words)


@check("keywords:letter_frequency")
def counts_letter(reply: str, *, letter: str, let_frequency: int, let_relation: Relation) -> bool:
    """A letter occurs so often, small or capital."""
    return _compare(reply.lower().count(letter.lower()), let_relation, let_frequency)


@check("language:response_language")
def is_in_language(reply: str, *, language: str) -> bool:
    """The reply is in this language, or in none that can be told."""
    return language_of(reply) in (language, None)


@check("length_constraints:number_sentences")
def counts_sentences(reply: str, *, num_sentences: int, relation: Relation) -> bool:
    """It has so many sentences."""
    return _compare(len(sentences(reply)), relation, num_sentences)


@check("length_constraints:number_paragraphs")
def counts_paragraphs(reply: str, *, num_paragraphs: int) -> bool:
    """``***`` divides it into exactly so many paragraphs; only before the first and after the last may there be nothing."""
    parts = [part.strip() for part in reply.split("***")]
    return all(parts[1:-1]) and sum(map(bool, parts)) == num_paragraphs


@check("length_constraints:number_words")
def counts_words(reply: str, *, num_words: int, relation: Relation) -> bool:
    """It has so many words (runs of letters, digits and underscores; a Chinese clause is one)."""
    return _compare(len(re.findall(r"\w+", reply)), relation, num_words)


@check("length_constraints:nth_paragraph_first_word")
def begins_paragraph(reply: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Blank lines divide it into exactly so many paragraphs, and the n-th part, from 1, begins with this word."""
    parts = [part.strip() for part in reply.split("\n\n")]
    count = sum(map(bool, parts))
    if count != num_paragraphs or nth_paragraph > count or not parts[nth_paragraph - 1]:
        return False
    word = parts[nth_paragraph - 1].split()[0].lstrip("'").lstrip('"')
    return re.split("[.,?!'\"]", word)[0].lower() == first_word.lower()


@check("detectable_content:number_placeholders")
def counts_placeholders(reply: str, *, num_placeholders: int) -> bool:
    """It has at least so many placeholders: ``[address]``."""
    return len(re.findall(r"\[[^\]\n]*\]", reply)) >= num_placeholders


@check("detectable_content:postscript")
def has_postscript(reply: str, *, postscript_marker: str) -> bool:
    """The postscript's marker occurs; the two usual ones with or without a space after their points."""
    usual = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
    marker = postscript_marker.strip()
    return bool(re.search(usual.get(marker, marker.lower()), reply.lower()))


@check("detectable_format:number_bullet_lists")
def counts_bullets(reply: str, *, num_bullets: int) -> bool:
    """Exactly so many lines begin with ``*`` (and no second one) or ``-``."""
    stars = re.findall(r"^[^\S\n]*\*[^*].*$", reply, re.MULTILINE)  # the second character may be the line's end, as there
    return len(stars) + len(re.findall(r"^[^\S\n]*-", reply, re.MULTILINE)) == num_bullets


@check("detectable_format:constrained_response")
def has_option(reply: str) -> bool:
    """It holds one of the three answers on offer."""
    return any(option in reply for option in OPTIONS)


@check("detectable_format:number_highlighted_sections")
def counts_highlights(reply: str, *, num_highlights: int) -> bool:
    """It has at least so many pieces in ``*one*`` or ``**two**`` asterisks that are not blank."""
    single = re.findall(r"\*([^\n*]*)\*", reply)
    double = re.findall(r"\*\*([^\n*]*)\*\*", reply)
    return sum(bool(piece.strip()) for piece in single + double) >= num_highlights


@check("detectable_format:multiple_sections")
def counts_sections(reply: str, *, section_spliter: str, num_sections: int) -> bool:
    """At least so many times the section's word is followed by a number."""
    return len(re.findall(rf"{section_spliter.strip()}\s?\d+", reply)) >= num_sections


@check("detectable_format:json_format")
def is_json(reply: str) -> bool:
    """The whole reply is JSON, also in a Markdown fence."""
    text = reply.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


@check("detectable_format:title")
def has_title(reply: str) -> bool:
    """It has a title in double angular brackets: ``<<poem of joy>>``."""
    return any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", reply))


@check("combination:two_responses")
def is_two_responses(reply: str) -> bool:
    """``******`` divides it into two different responses; only before the first and after the second may there be nothing."""
    parts = [part.strip() for part in reply.split("******")]
    responses = [part for part in parts if part]
    return all(parts[1:-1]) and len(responses) == 2 and responses[0] != responses[1]


@check("combination:repeat_prompt")
def repeats_prompt(reply: str, *, prompt_to_repeat: str) -> bool:
    """It begins with the request, whatever its capitals."""
    return reply.strip().lower().startswith(prompt_to_repeat.strip().lower())


@check("startend:end_checker")
def ends_with(reply: str, *, end_phrase: str) -> bool:
    """It ends with this phrase, whatever its capitals; a quotation mark may follow."""
    return reply.strip().strip('"').lower().endswith(end_phrase.strip().lower())


@check("startend:quotation")
def is_quoted(reply: str) -> bool:
    """It stands in straight double quotation marks."""
    text = reply.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


@check("change_case:capital_word_frequency")
def counts_capital_words(reply: str, *, capital_frequency: int, capital_relation: Relation) -> bool:
    """So many words are in capitals; a hyphenated word is one."""
    return _compare(sum(token.isupper() for token in tokens(reply)), capital_relation, capital_frequency)


@check("change_case:english_capital")
def is_capital_english(reply: str) -> bool:
    """It is English, in capitals only."""
    return reply.isupper() and language_of(reply) in ("en", None)


@check("change_case:english_lowercase")
def is_lowercase_english(reply: str) -> bool:
    """It is English, without capitals."""
    return reply.islower() and language_of(reply) in ("en", None)


@check("punctuation:no_comma")
def has_no_comma(reply: str) -> bool:
    """It has no comma; a Chinese one is none."""
    return "," not in reply
