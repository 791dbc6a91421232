"""Kinds of values that a request holds (names, dates, codes, formulas …), in two splits that share none.

One value in five is held out, by its place in a small pool and else by the CRC-32 of its text: no training row holds a
value that a held-out request asks with. Knows nothing of tools.
"""

import random
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

Split = Literal["train", "held_out"]

_ONE_HELD_OUT_IN = 5
_CAPITALS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_DIGITS = "0123456789"


def _phrases(text: str) -> list[str]:
    """Return what stands between bars and line ends."""
    return text.strip().replace("\n", "|").split("|")


_ONSETS = "b br c ch d dr f fl g gr h j k kl l m n p pr r s sh sk st t tr v w y z".split()
_VOWELS = "a e i o u ai ea ee ia io oa ou".split()
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
_CITIES = _phrases("""
Paris|London|Berlin|Madrid|Rome|Vienna|Oslo|Lisbon|Dublin|Athens|Prague|Warsaw|Helsinki|Zurich|Geneva|Milan|Turin
Naples|Porto|Seville|Lyon|Nice|Hamburg|Munich|Cologne|Boston|Chicago|Denver|Seattle|Austin|Dallas|Houston|Miami
Toronto|Montreal|Lima|Quito|Bogota|Cairo|Nairobi|Lagos|Accra|Tunis|Delhi|Mumbai|Chennai|Tokyo|Osaka|Kyoto|Seoul
Busan|Beijing|Shanghai|Taipei|Bangkok|Hanoi|Manila|Jakarta|Sydney|Perth|Auckland|Brisbane|Krakow|Riga|Vilnius
Tallinn|Sofia|Zagreb|New York|Los Angeles|San Diego|Buenos Aires|Cape Town|Hong Kong|St. Gallen|Rio de Janeiro
Salt Lake City|Mexico City|Kuala Lumpur|Tel Aviv|Addis Ababa|Santa Fe
""")
_CHINESE_CITIES = "北京 上海 广州 深圳 杭州 成都 南京 武汉 西安 重庆 苏州 天津 长沙 青岛 大连 厦门 昆明".split()
_STREETS = "Street Road Avenue Lane Square Court Hill Park".split()
_TITLE_WORDS = """
Silent River Golden Night Broken Garden Winter Light Blue Stone Lost City Red Wind Little Bird Dark Forest Last
Summer Hidden Door Paper Moon Glass Tower Iron Road Green Island White Horse Long Dream Deep Water Open Sky First
Star Quiet House Second Sun Burning Bridge
""".split()
_FIRM_WORDS = """
Northern Pacific Royal United Global Central Alpine Harbour Atlas Summit Pioneer Crystal Evergreen Liberty Meridian
""".split()
_TRADES = """
Logistics Insurance Foods Chemicals Textiles Shipping Robotics Publishing Energy Motors Optics Pharmaceuticals Steel
""".split()
_FORMS = "Ltd. Inc. GmbH Corporation Group".split()
_PLACES = "Museum,Theatre,Library,Hotel,University,Hospital,Stadium,Concert Hall,Railway Station,Botanical Garden"
_SENTENCE_HEADS = _phrases("""
I will be late by|The meeting moved to|Please bring|Do not forget|We ran out of|Thanks for|The keys are next to
Happy birthday and enjoy|Could you check|Your order includes
""")
_THINGS = """
batteries candles tickets notebooks blankets headphones pencils gloves towels umbrellas screws envelopes lamps brushes
cables chairs vases helmets magnets mirrors ropes buckets keyboards monitors scarves boots kettles pillows ladders
drills markers backpacks curtains teapots plates jackets baskets clocks hammers tents bowls sandals
""".split()
_COLOURS = "red green blue yellow black white orange purple pink grey brown turquoise silver gold".split()
_TOPICS = _phrases("""
solar power|chess openings|medieval castles|deep sea fish|jazz history|electric cars|coral reefs|black holes
sourdough baking|bird migration|modern poetry|quantum computing|urban gardening|ancient Egypt|glacier melting
marathon training|wood carving|renewable energy|machine translation|volcanic islands|stock markets|tea ceremonies
vaccine research|space telescopes|silk production|wild mushrooms|public transport|film music|desert plants|robot ethics
""")
_SUBSTANCES = """
water ethanol methane benzene glucose ammonia acetone propane butane nitrogen helium argon copper iron aluminium
zinc nickel titanium silicon graphite quartz toluene glycerol urea sulfur chlorine neon hydrogen oxygen lithium
""".split()
_MEDICINES = """
ibuprofen aspirin insulin amoxicillin paracetamol metformin cortisone penicillin codeine morphine warfarin naproxen
lisinopril omeprazole cetirizine diazepam melatonin prednisone statins heparin
""".split()
_SPECIES = """
lion tiger wolf otter badger falcon eagle salmon trout octopus dolphin elephant giraffe koala penguin lynx bison
heron robin sparrow beetle honeybee dragonfly oak maple birch lavender orchid sunflower tortoise gecko iguana
""".split()
_VEGETABLES = """
spinach pumpkin garlic courgette cauliflower leeks cabbage peppers potatoes carrots tomatoes onions lettuce radishes
beetroot broccoli celery cucumbers peas aubergine
""".split()
_FOODS = """
chicken lentils mushrooms tofu chickpeas rice noodles beans ginger shrimp beef lamb eggs cheese olives bread butter
honey walnuts yogurt sausages apples lemons tuna
""".split()
_CURRENCIES = "USD EUR GBP JPY CHF SEK NOK CAD AUD INR BRL CNY".split()
_LANGUAGES = "French German Spanish Italian Polish Danish Greek Turkish Korean Hindi Dutch Czech Finnish Welsh".split()
_COUNTRIES = """
France Germany Spain Italy Poland Denmark Greece Turkey Japan India Brazil Canada Mexico Kenya Egypt Norway Chile Peru
Portugal Austria Ireland Vietnam Thailand Morocco
""".split()
_CHINESE_FOODS = (
    "鸡肉 牛肉 豆腐 土豆 番茄 鸡蛋 米饭 面条 青椒 茄子 白菜 黄瓜 蘑菇 虾仁 胡萝卜 洋葱 菠菜 南瓜 玉米 大蒜".split()
)
_CHINESE_ANIMALS = "狮子 老虎 大象 企鹅 海豚 熊猫 狼 猫头鹰 长颈鹿 考拉 麻雀 蜜蜂 乌龟 橡树 薰衣草".split()
_CHINESE_SUBSTANCES = "水 乙醇 甲烷 丙酮 氨 铜 铁 铝 锌 石英 甘油 尿素 氯 氦 氮".split()
_CHINESE_TITLES = _phrases("""
夏天的风|蓝色的海|月亮河|春天的信|夜空中的星|回家的路|雨后的城市|金色的秋天|沉默的山|远方的灯|小城故事|最后一班车
红色的门|风中的叶子|早安北京
""")
_CHINESE_THINGS = "台灯 雨伞 手套 毛巾 耳机 椅子 花瓶 窗帘 水壶 背包 键盘 镜子 蜡烛 围巾 枕头".split()
_CHINESE_MESSAGES = _phrases("""
我会晚到十分钟|会议改到明天下午|请带上蓝色的雨伞|别忘了买牛奶|钥匙在门口的盒子里|谢谢你的礼物|今晚一起吃饭吧
请把报告发给我|火车晚点了半小时|周末去爬山吗|生日快乐|我已经到车站了|快递放在前台|明天不用来接我|记得关窗户
""")
_CHINESE_TOPICS = """
太阳能 国际象棋 机器翻译 公共交通 电动汽车 深海鱼类 黑洞 现代诗歌 股票市场 垂直农业 野生蘑菇 古埃及 疫苗 珊瑚礁 茶道
""".split()
_CHINESE_SURNAMES, _CHINESE_NAMES = "王李张刘陈杨赵黄周吴", "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超霞平刚"
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()


class Kind(NamedTuple):
    """How values of a kind look: their JSON schema, who draws one, and whether the set is open (split in two)."""

    schema: dict[str, Any]
    draw: Callable[[random.Random], Any]
    open: bool = True


def pseudo_word(rng: random.Random, syllables: int = 0) -> str:
    """Return a pronounceable word that is in no dictionary, of one to three syllables."""
    count = syllables or rng.choice((1, 2, 2, 2, 3))
    return "".join(
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + (rng.choice(_CODAS) if rng.random() < 0.45 else "")
        for _ in range(count)
    )


def _name(rng: random.Random, known: list[str], share: float = 0.75) -> str:
    return rng.choice(known) if rng.random() < share else pseudo_word(rng, 2).capitalize()


def _letters(rng: random.Random, *counts: int) -> str:
    return "".join(rng.choice(_CAPITALS) for _ in range(rng.choice(counts)))


def _digits(rng: random.Random, *counts: int) -> str:
    return "".join(rng.choice(_DIGITS) for _ in range(rng.choice(counts)))


def _person(rng: random.Random) -> str:
    return f"{_name(rng, _FIRST)} {_name(rng, _LAST)}"


def _city(rng: random.Random) -> str:
    return _name(rng, _CITIES)


def _code(rng: random.Random) -> str:
    """Letters and digits, as orders, bookings and parts have them."""
    match rng.randrange(6):
        case 0:
            return f"{_letters(rng, 2, 3)}-{_digits(rng, 4, 5)}"
        case 1:
            return f"{_letters(rng, 1, 2)}{_digits(rng, 3, 4, 6)}"
        case 2:
            return f"{_letters(rng, 3, 4)}-{_digits(rng, 4)}-{_letters(rng, 1, 2)}"
        case 3:
            return "".join(rng.choice(_CAPITALS + _DIGITS) for _ in range(rng.choice((6, 7, 8))))
        case 4:
            return f"{_digits(rng, 2, 3)}-{_letters(rng, 2)}-{_digits(rng, 2, 3)}"
        case _:
            return f"{pseudo_word(rng, 1)}_{_digits(rng, 2, 3, 4)}"


def _title(rng: random.Random) -> str:
    return " ".join(_name(rng, _TITLE_WORDS) for _ in range(rng.choice((2, 2, 3, 4))))


def _firm(rng: random.Random) -> str:
    words = [_name(rng, _FIRM_WORDS), rng.choice(_TRADES)]
    return " ".join([*words, rng.choice(_FORMS)] if rng.random() < 0.5 else words)


def _decimal(rng: random.Random) -> float:
    places = rng.choice((1, 1, 2, 2, 3))
    return round(rng.uniform(0.1, rng.choice((1, 10, 100, 1000))), places) or 0.5


def _measure(rng: random.Random, units: list[str]) -> str:
    number = rng.randint(2, 500) if rng.random() < 0.6 else round(rng.uniform(0.2, 90), 1)
    return f"{number} {rng.choice(units)}"


def _formula(rng: random.Random) -> str:
    """Write a term in one variable, in the notations that people use."""
    x = rng.choice("xxxty")
    a, b, c, n = (rng.randint(2, 19) for _ in range(4))
    forms = (
        f"{a}{x}^2 + {b}{x} - {c}",
        f"{x}^{n} - {a}",
        f"{a}*{x}**2 + {b}*{x}",
        f"sin({a}{x}) + {b}",
        f"e^{x} + {a}{x}",
        f"({x} + {a})/({x} - {b})",
        f"{a}{x}^{n % 6 + 2}",
        f"sqrt({x} + {a})",
        f"{a}{x}^3 - {b}{x} + {c}",
        f"log({a}*{x}) * {b}",
        f"{x}**{n % 5 + 2} - {a}*{x} + {b}",
        f"cos({x})^2 - {a}",
    )
    return rng.choice(forms)


def _sum(rng: random.Random) -> str:
    a, b, c = (rng.randint(2, 999) for _ in range(3))
    forms = (f"{a} * ({b} + {c})", f"{a} + {b} / {c}", f"({a} - {b}) * {c}", f"{a}^2 + {b}", f"sqrt({a}) * {b}")
    return rng.choice(forms)


def _street(rng: random.Random) -> str:
    return f"{rng.randint(1, 299)} {pseudo_word(rng, 2).capitalize()} {rng.choice(_STREETS)}"


def _thing(rng: random.Random) -> str:
    return rng.choice(_THINGS) if rng.random() < 0.5 else f"{rng.choice(_COLOURS)} {rng.choice(_THINGS)}"


def _phone(rng: random.Random) -> str:
    forms = (
        f"+{rng.randint(1, 99)} {_digits(rng, 3)} {_digits(rng, 4)}",
        f"{_digits(rng, 3)}-{_digits(rng, 4)}",
        f"0{_digits(rng, 9)}",
    )
    return rng.choice(forms)


def _date(rng: random.Random) -> str:
    return f"{rng.randint(2020, 2032)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def _message(rng: random.Random) -> str:
    tail = f"{rng.choice(('the', 'some', 'my'))} {rng.choice(_COLOURS)} {rng.choice(_THINGS)}"
    return f"{rng.choice(_SENTENCE_HEADS)} {tail}{rng.choice(('', '', f' for {rng.choice(_FIRST)}'))}"


def _folder(rng: random.Random) -> str:
    parts = [rng.choice(("data", "docs", "home", "reports", "tmp", "backup")), pseudo_word(rng, 2)]
    return "/" + "/".join([*parts, pseudo_word(rng)] if rng.random() < 0.3 else parts)


def _file(rng: random.Random, folder: str, *endings: str) -> str:
    return f"/{folder}/{pseudo_word(rng)}_{rng.randint(1, 99)}.{rng.choice(endings)}"


def _document(rng: random.Random) -> str:
    return _file(rng, rng.choice(("data", "docs", "home", "reports")), "csv", "txt", "pdf", "docx")


def _picture(rng: random.Random) -> str:
    return _file(rng, rng.choice(("images", "photos", "home", "scans")), "png", "jpg", "webp")


def _between(low: int, high: int) -> Callable[[random.Random], int]:
    return lambda rng: rng.randint(low, high)


def _decimal_between(low: float, high: float, places: int) -> Callable[[random.Random], float]:
    return lambda rng: round(rng.uniform(low, high), rng.randint(1, places))


def _one_of(*pools: Sequence[str]) -> Callable[[random.Random], str]:
    pool = [value for values in pools for value in values]
    return lambda rng: rng.choice(pool)


def _email(rng: random.Random) -> str:
    domain = rng.choice(("mail.com", "post.net", "inbox.org", "work.com", "home.net"))
    return f"{pseudo_word(rng, 2)}{rng.choice(('', '.' + pseudo_word(rng, 1), str(rng.randint(1, 99))))}@{domain}"


def _url(rng: random.Random) -> str:
    return f"https://{pseudo_word(rng, 2)}.{rng.choice(('com', 'org', 'net', 'io'))}/{pseudo_word(rng)}"


_TEXT: dict[str, Any] = {"type": "string"}
_INTEGER: dict[str, Any] = {"type": "integer"}
_NUMBER: dict[str, Any] = {"type": "number"}

KINDS: dict[str, Kind] = {
    "person": Kind(_TEXT, _person),
    "first": Kind(_TEXT, lambda rng: _name(rng, _FIRST, 0.5)),
    "last": Kind(_TEXT, lambda rng: _name(rng, _LAST, 0.5)),
    "city": Kind(_TEXT, _city),
    "place": Kind(_TEXT, lambda rng: f"{_name(rng, _CITIES, 0.5)} {rng.choice(_PLACES.split(','))}"),
    "street": Kind(_TEXT, _street),
    "zip": Kind(_TEXT, lambda rng: _digits(rng, 5)),
    "date": Kind(_TEXT, _date),
    "time": Kind(_TEXT, lambda rng: f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"),
    "year": Kind(_INTEGER, _between(1850, 2035)),
    "count": Kind(_INTEGER, _between(2, 99)),
    "few": Kind(_INTEGER, _between(2, 14), open=False),
    "age": Kind(_INTEGER, _between(18, 92), open=False),
    "share": Kind(_INTEGER, _between(1, 100), open=False),
    "oven": Kind(_INTEGER, _between(60, 280)),
    "kelvin": Kind(_INTEGER, _between(180, 900)),
    "pixels": Kind(_INTEGER, _between(16, 4096)),
    "port": Kind(_INTEGER, _between(1024, 65535)),
    "minutes": Kind(_INTEGER, _between(5, 240)),
    "steps": Kind(_INTEGER, lambda rng: rng.randint(30, 300) * 100),
    "lap": Kind(_INTEGER, _between(4, 120)),
    "grams": Kind(_INTEGER, _between(20, 950)),
    "pressure": Kind(_INTEGER, _between(95, 190)),
    "low_pressure": Kind(_INTEGER, _between(50, 95)),
    "speed": Kind(_INTEGER, _between(70, 240)),
    "limit": Kind(_INTEGER, lambda rng: rng.randint(3, 6) * 10, open=False),
    "amount": Kind(_INTEGER, lambda rng: rng.choice((rng.randint(10, 999), rng.randint(1000, 99999)))),
    "big": Kind(_INTEGER, lambda rng: rng.choice((rng.randint(1, 99) * 1000, rng.randint(100000, 9999999)))),
    "below_zero": Kind(_INTEGER, _between(-60, -1)),
    "signed": Kind(_INTEGER, _between(-60, 60)),
    "decimal": Kind(_NUMBER, _decimal),
    "number": Kind(_NUMBER, lambda rng: rng.randint(2, 900) if rng.random() < 0.5 else _decimal(rng)),
    "signed_decimal": Kind(_NUMBER, lambda rng: round(rng.uniform(-99, 99), rng.choice((1, 2, 3, 4)))),
    "latitude": Kind(_NUMBER, lambda rng: round(rng.uniform(-90, 90), rng.choice((2, 3, 4)))),
    "longitude": Kind(_NUMBER, lambda rng: round(rng.uniform(-180, 180), rng.choice((2, 3, 4)))),
    "celsius": Kind(_NUMBER, _decimal_between(14, 28, 1)),
    "kilograms": Kind(_NUMBER, _decimal_between(35, 140, 2)),
    "metres_tall": Kind(_NUMBER, lambda rng: round(rng.uniform(1.2, 2.1), 2)),
    "kilometres": Kind(_NUMBER, _decimal_between(0.5, 60, 2)),
    "price": Kind(_NUMBER, lambda rng: round(rng.uniform(1, 900), 2)),
    "percent": Kind(_NUMBER, lambda rng: round(rng.uniform(0.5, 60), rng.choice((1, 1, 2)))),
    "rate": Kind(_NUMBER, lambda rng: round(rng.uniform(0.01, 0.99), rng.choice((2, 3)))),
    "code": Kind(_TEXT, _code),
    "version": Kind(_TEXT, lambda rng: ".".join(str(rng.randint(0, 29)) for _ in range(rng.choice((2, 3))))),
    "ticker": Kind(_TEXT, lambda rng: _letters(rng, 3, 4)),
    "account": Kind(_TEXT, lambda rng: _digits(rng, 6, 8, 10)),
    "room": Kind(_TEXT, lambda rng: f"{rng.choice('ABCDEFGH')}{rng.randint(10, 499)}"),
    "user": Kind(_TEXT, lambda rng: f"{pseudo_word(rng, 2)}{rng.choice(('', '_', '-'))}{_digits(rng, 1, 2, 3)}"),
    "title": Kind(_TEXT, _title),
    "firm": Kind(_TEXT, _firm),
    "message": Kind(_TEXT, _message),
    "topic": Kind(_TEXT, _one_of(_TOPICS)),
    "thing": Kind(_TEXT, _thing),
    "word": Kind(_TEXT, lambda rng: pseudo_word(rng, 2)),
    "email": Kind(_TEXT, _email),
    "phone": Kind(_TEXT, _phone),
    "document": Kind(_TEXT, _document),
    "picture": Kind(_TEXT, _picture),
    "folder": Kind(_TEXT, _folder),
    "url": Kind(_TEXT, _url),
    "length": Kind(_TEXT, lambda rng: _measure(rng, ["m", "cm", "nautical miles", "light years", "fathoms"])),
    "volume": Kind(_TEXT, lambda rng: _measure(rng, ["ml", "litres", "L"])),
    "dose": Kind(_TEXT, lambda rng: _measure(rng, ["mg", "ml", "drops"])),
    "formula": Kind(_TEXT, _formula),
    "sum": Kind(_TEXT, _sum),
    "sequence": Kind(_TEXT, lambda rng: "".join(rng.choice("ACGT") for _ in range(rng.randint(6, 14)))),
    "hex": Kind(_TEXT, lambda rng: "#" + "".join(rng.choice("0123456789ABCDEF") for _ in range(6))),
    "ip": Kind(_TEXT, lambda rng: ".".join(str(rng.randint(1, 254)) for _ in range(4))),
    "substance": Kind(_TEXT, _one_of(_SUBSTANCES)),
    "medicine": Kind(_TEXT, _one_of(_MEDICINES)),
    "species": Kind(_TEXT, _one_of(_SPECIES)),
    "vegetable": Kind(_TEXT, _one_of(_VEGETABLES)),
    "ingredient": Kind(_TEXT, _one_of(_VEGETABLES, _FOODS)),
    "currency": Kind(_TEXT, _one_of(_CURRENCIES), open=False),
    "language": Kind(_TEXT, _one_of(_LANGUAGES), open=False),
    "country": Kind(_TEXT, _one_of(_COUNTRIES), open=False),
}  # fmt: skip
"""Every kind by its name."""

LIKENESS = {
    **dict.fromkeys(("title", "firm", "place", "topic", "thing", "message"), "words"),
    **dict.fromkeys(("person", "first", "last"), "name"),
    **dict.fromkeys(("word", "user"), "word"),
    **dict.fromkeys(("code", "room", "account", "zip", "ticker", "version"), "code"),
    **dict.fromkeys(("document", "picture", "folder"), "path"),
    **dict.fromkeys(("vegetable", "ingredient"), "food"),
    **dict.fromkeys(("formula", "sum"), "formula"),
}
"""What values of a kind look like, where several kinds look the same."""

_CHINESE: dict[str, Callable[[random.Random], str]] = {
    "person": lambda rng: rng.choice(_CHINESE_SURNAMES) + "".join(rng.sample(_CHINESE_NAMES, rng.choice((1, 2)))),
    "city": _one_of(_CHINESE_CITIES),
    "ingredient": _one_of(_CHINESE_FOODS),
    "species": _one_of(_CHINESE_ANIMALS),
    "substance": _one_of(_CHINESE_SUBSTANCES),
    "title": _one_of(_CHINESE_TITLES),
    "thing": _one_of(_CHINESE_THINGS),
    "message": _one_of(_CHINESE_MESSAGES),
    "topic": _one_of(_CHINESE_TOPICS),
}
"""Who draws the values of a kind in a Chinese request."""
_CHINESE_POOLS = (
    _CHINESE_CITIES, _CHINESE_FOODS, _CHINESE_ANIMALS, _CHINESE_SUBSTANCES, _CHINESE_TITLES, _CHINESE_THINGS,
    _CHINESE_MESSAGES, _CHINESE_TOPICS,
)  # fmt: skip

_POOLS = (_TOPICS, _SUBSTANCES, _MEDICINES, _SPECIES, _VEGETABLES, _FOODS, *_CHINESE_POOLS)
_HELD_OUT_BY_PLACE = {
    value: place % _ONE_HELD_OUT_IN == 0 for pool in _POOLS for place, value in enumerate(pool, start=1)
}


def is_held_out(value: Any) -> bool:
    """Return whether a value of an open kind is kept for held-out requests."""
    text = str(value)
    return _HELD_OUT_BY_PLACE.get(text, zlib.crc32(text.encode()) % _ONE_HELD_OUT_IN == 0)


def draw(rng: random.Random, kind: str, split: Split, *, chinese: bool = False) -> Any:
    """Draw a value of a kind from a split; closed kinds have no split."""
    found = KINDS[kind]
    while True:
        value = _CHINESE[kind](rng) if chinese and kind in _CHINESE else found.draw(rng)
        if not found.open or is_held_out(value) == (split == "held_out"):
            return value


def spoken(rng: random.Random, kind: str, value: Any) -> str:
    """Return a value as people write it in a request: large numbers with commas, small ones in words, texts in
    quotes, now and then.
    """
    match value:
        case int() if kind in ("amount", "big", "steps") and value >= 1000 and rng.random() < 0.3:
            return f"{value:,}"
        case int() if kind in ("count", "few") and value < len(_NUMBER_WORDS) and rng.random() < 0.4:
            return _NUMBER_WORDS[value]
        case str() if kind in ("title", "message", "formula", "sum") and rng.random() < 0.5:
            return in_quotes(rng, value)
        case _:
            return str(value)


def in_quotes(rng: random.Random, text: str) -> str:
    """Return a text in quotes of one kind or another, once."""
    quote = rng.choice("'\"")
    return text if text[0] in "'\"" else f"{quote}{text}{quote}"
