"""Values that a request can hold (names, cities, dates, codes …), in two splits that share no value.

A value belongs to the held-out split when the CRC-32 of its text says so, so that neither the base's text nor the
training corpus can hold a value that a held-out request uses. Knows nothing of tools or models.
"""

import random
import zlib
from typing import Literal

Split = Literal["train", "held_out"]
Value = str | int

_HELD_OUT_SHARE = 5
_ONSETS = "b br c ch d dr f fl g gr h j k kl l m n p pr qu r s sh sk st t tr v w y z".split()
_VOWELS = "a e i o u ai ea ee ia io oa oo ou ay".split()
_CODAS = " l m n r s t ck nd rk st x ng".split(" ")
_FIRST = """
Anna Ben Clara David Elena Felix Grace Hugo Irene Jonas Karin Leo Maria Nils Olga Paul Rosa Simon Tara Viktor Wendy
Xavier Yara Zoe Adam Bella Carlos Diana Erik Fiona George Hannah Ivan Julia Kevin Laura Martin Nora Oscar Petra
Quinn Robert Sara Thomas Ursula Vera Walter Lin Mei Omar Priya Ravi Sofia Tomas Yusuf Ahmed Aiko Kenji Chen Lucia
""".split()
_LAST = """
Smith Garcia Muller Rossi Novak Silva Kim Tanaka Singh Larsen Dubois Kowalski Jensen Costa Weber Moreau Ivanov Brown
Wilson Taylor Clark Lewis Young King Wright Hill Green Baker Adams Nelson Carter Mitchell Turner Parker Evans
""".split()
_CITIES = """
Paris London Berlin Madrid Rome Vienna Oslo Lisbon Dublin Athens Prague Warsaw Helsinki Zurich Geneva Milan Turin
Naples Porto Seville Lyon Nice Hamburg Munich Cologne Boston Chicago Denver Seattle Austin Dallas Houston Miami
Toronto Montreal Lima Quito Bogota Cairo Nairobi Lagos Accra Tunis Delhi Mumbai Chennai Tokyo Osaka Kyoto Seoul
Busan Beijing Shanghai Taipei Bangkok Hanoi Manila Jakarta Sydney Perth Auckland Brisbane Krakow Riga Vilnius
Tallinn Sofia Zagreb
""".split()
_STREETS = "Street Road Avenue Lane Square Court Hill Park".split()
_TITLE_WORDS = """
Silent River Golden Night Broken Garden Winter Light Blue Stone Lost City Red Wind Little Bird Dark Forest Last
Summer Hidden Door Paper Moon Glass Tower Iron Road Green Island White Horse Long Dream Deep Water Open Sky First
Star Quiet House Second Sun Burning Bridge
""".split()
_DOMAINS = "mail.com post.net inbox.org work.com home.net".split()
_EXTENSIONS = "csv txt pdf json png log".split()
_FOLDERS = "data docs home reports tmp images backup shared".split()
_CURRENCIES = "USD EUR GBP JPY CHF SEK NOK CAD AUD INR BRL CNY".split()
_LANGUAGES = """
French German Spanish Italian Polish Danish Greek Turkish Korean Hindi Dutch Czech Finnish Swedish Arabic Hebrew
Thai Welsh
""".split()

KINDS = (
    "person", "city", "date", "time", "count", "amount", "code", "title", "email", "path", "address", "phone",
    "currency", "language", "word", "ticker", "year", "room",
)  # fmt: skip


def pseudo_word(rng: random.Random, syllables: int = 0) -> str:
    """Return a pronounceable word that is in no dictionary, of one to three syllables."""
    count = syllables or rng.choice((1, 2, 2, 2, 3))
    return "".join(
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + (rng.choice(_CODAS) if rng.random() < 0.45 else "")
        for _ in range(count)
    )


def split_of(value: Value) -> Split:
    """Return which split a value belongs to, by its text alone."""
    return "held_out" if zlib.crc32(str(value).encode()) % _HELD_OUT_SHARE == 0 else "train"


def draw(rng: random.Random, kind: str, split: Split) -> Value:
    """Draw a value of one of `KINDS`; closed small sets (currency, language) have no split."""
    while True:
        value = _draw(rng, kind)
        if kind in ("currency", "language") or split_of(value) == split:
            return value


def _draw(rng: random.Random, kind: str) -> Value:
    match kind:
        case "person":
            first = rng.choice(_FIRST) if rng.random() < 0.6 else pseudo_word(rng, 2).capitalize()
            last = rng.choice(_LAST) if rng.random() < 0.5 else pseudo_word(rng, 2).capitalize()
            return f"{first} {last}"
        case "city":
            return rng.choice(_CITIES) if rng.random() < 0.4 else pseudo_word(rng, rng.choice((2, 2, 3))).capitalize()
        case "date":
            return f"{rng.randint(2020, 2032)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
        case "time":
            return f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
        case "count":
            return rng.randint(2, 99)
        case "amount":
            return rng.randint(10, 9999)
        case "year":
            return rng.randint(1900, 2030)
        case "code":
            letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(rng.choice((2, 3))))
            return f"{letters}-{rng.randint(100, 99999)}"
        case "ticker":
            return "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(rng.choice((3, 4))))
        case "room":
            return f"{rng.choice('ABCDEFGH')}{rng.randint(10, 499)}"
        case "title":
            words = [
                rng.choice(_TITLE_WORDS) if rng.random() < 0.6 else pseudo_word(rng, 2).capitalize()
                for _ in range(rng.choice((2, 2, 3)))
            ]
            return " ".join(words)
        case "email":
            return f"{pseudo_word(rng, 2)}{rng.choice(('', '', str(rng.randint(1, 99))))}@{rng.choice(_DOMAINS)}"
        case "path":
            return f"/{rng.choice(_FOLDERS)}/{pseudo_word(rng)}_{rng.randint(1, 99)}.{rng.choice(_EXTENSIONS)}"
        case "address":
            return f"{rng.randint(1, 299)} {pseudo_word(rng, 2).capitalize()} {rng.choice(_STREETS)}"
        case "phone":
            return f"+{rng.randint(1, 99)} {rng.randint(100, 999)} {rng.randint(1000, 9999)}"
        case "currency":
            return rng.choice(_CURRENCIES)
        case "language":
            return rng.choice(_LANGUAGES)
        case "word":
            return pseudo_word(rng, 2).capitalize()
        case _:
            raise ValueError(f"unknown kind of value {kind!r}; expected one of {', '.join(KINDS)}")
