"""Which master keys are no secret: those printed in manuals, and those a person types to get going."""

from __future__ import annotations

import re

#: Words of manuals and examples, longer ones first. What is left of a key without them is what a stranger must guess.
_MANUAL_WORDS = """
    placeholder passphrase changeme password litellm tollway example default replace testing gateway virtual master
    change insert openai sample secret votre admin dummy local proxy token clave clé demo here test this with your
    key api dev foo bar tu me my
"""
_WORDS = re.compile("|".join(_MANUAL_WORDS.split()))
_SEQUENCES = ("abcdefghijklmnopqrstuvwxyz", "0123456789" * 2, "9876543210" * 2, "qwertyuiopasdfghjklzxcvbnm")
_CHARACTERS_MIN = 8
_DIFFERENT_MIN = 4


def is_weak_master_key(key: str) -> bool:
    """True for a key that a stranger would try: "sk-1234" of every manual, "sk-litellm-key", "change-me", "sk-xxxxxx".

    Without "sk-", punctuation and the words of manuals at least eight characters must be left, four of them
    different, and not a run of the alphabet, the keyboard or the digits.
    """
    rest = "".join(character for character in key.strip().lower().removeprefix("sk-") if character.isalnum())
    rest = _WORDS.sub("", rest)
    return (
        len(rest) < _CHARACTERS_MIN
        or len(set(rest)) < _DIFFERENT_MIN
        or any(rest in sequence for sequence in _SEQUENCES)
    )
