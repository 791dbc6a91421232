"""Kinds of values that a request holds (names, dates, codes, formulas …), in two splits that share none.

Values are short and of common words, so that a small model reads and writes them in few tokens; most are two words put
together, each of which training knows. One value in five is held out, by its place in a pool of whole values and else
by the CRC-32 of its text: no training row holds a value that a held-out request asks with. Knows nothing of tools.
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


_FIRST = """
Anna Ben Clara David Elena Felix Grace Hugo Irene Jonas Karen Leo Maria Nick Olga Paul Rosa Simon Tara Victor Wendy Adam
Bella Carlos Diana Eric Fiona George Hannah Ivan Julia Kevin Laura Martin Nora Oscar Peter Robert Sara Thomas Lucy Omar
""".split()
_LAST = """
Smith Garcia Miller Silva Kim Tanaka Singh Costa Weber Brown Wilson Taylor Clark Lewis Young King Wright Hill Green
Baker Adams Nelson Carter Mitchell Turner Parker Evans Walker Hall Allen Scott Cooper Ward Morgan Bell Murphy Reed Cook
""".split()
_CITIES = _phrases("""
Paris|London|Berlin|Madrid|Rome|Vienna|Oslo|Lisbon|Dublin|Athens|Prague|Warsaw|Helsinki|Zurich|Geneva|Milan|Venice
Naples|Hamburg|Munich|Boston|Chicago|Denver|Seattle|Austin|Dallas|Houston|Miami|Toronto|Montreal|Lima|Cairo|Nairobi
Lagos|Delhi|Mumbai|Tokyo|Kyoto|Seoul|Beijing|Shanghai|Bangkok|Manila|Sydney|Perth|Melbourne|Stockholm|Moscow|Istanbul
Jerusalem|Singapore|Dubai|Havana|Atlanta|Phoenix|Detroit|Oxford|Cambridge|Manchester|Glasgow|Edinburgh|Barcelona|Florence
Amsterdam|Brussels|Copenhagen|Budapest|New York|San Diego|Cape Town|Hong Kong|Los Angeles|San Francisco|New Orleans
""")
_STREET_NAMES = "Park Church Mill Station Garden River Oak Bridge Market School Forest Lake Castle Hill Rose".split()
_STREETS = "Street Road Avenue Lane".split()
_ADJECTIVES = """
Silent Golden Broken Blue Lost Red Little Dark Last Hidden Green White Long Deep Open First Quiet Wild Cold Happy Bright
Old New Lonely Gentle Sweet Brave Black Young Slow Warm Silver Distant Secret
""".split()
_NOUNS = """
River Night Garden Winter Light Stone City Wind Bird Forest Summer Door Moon Tower Road Island Horse Dream Water Sky
Star House Sun Bridge Mountain Sea Train Rain Letter Heart Morning Story Song Fire Ocean Mirror
""".split()
_PLAYLISTS = "Morning Evening Sunday Friday Summer Winter Party Holiday Travel Dinner Coffee Beach".split()
_MUSIC = "Jazz Rock Hits Mix Songs Dance Blues Music Classics".split()
_FIRM_WORDS = "Northern Pacific Royal United Global Central Atlas Summit Pioneer Crystal Liberty Eastern".split()
_TRADES = "Foods Energy Motors Steel Books Travel Health Systems Media Design Paper Farms".split()
_TEAMS = "Tigers Lions Bears Eagles Sharks Wolves Stars Rangers".split()
_LEAGUES = "Northern Southern Eastern Western National Regional Junior Senior City Summer Winter".split()
_CUPS = "League Cup Division Championship".split()
_LAWS = "Water Traffic Housing Tax Labour Health School Energy Forest Trade Family Insurance Property Privacy".split()
_LAWS_OF = "rent noise tax water school data traffic property work health".split()
_RIGHTS = "disputes limits rights fees rules".split()
_PLACES = _phrases("Museum|Theatre|Library|Hotel|University|Stadium|Concert Hall|City Hall|Arena|Opera")
_THINGS = """
batteries candles tickets notebooks blankets gloves towels cables chairs mirrors ropes boots pillows plates jackets
baskets clocks bowls shoes lamps bottles pens cups hats bags tables shirts boxes
""".split()
_COLOURS = "red green blue yellow black white orange purple pink brown silver".split()
_CHORES = "buy sell clean order pack repair return wash move count find check".split()
_FAULTS = _phrases("arrived broken|came too late|never arrived|are too small|fell apart|have no price")
_OPINIONS = _phrases("look great|work well|feel cheap|are too small|are very good|are too big")
_ROOMS = "kitchen office garden bedroom hall garage cellar bathroom desk porch stairs library".split()
_LAMPS = "light lamp".split()
_DEVICES = "speaker camera printer screen radio heater router phone".split()
_PARTS = "login payment printer network search email screen download backup password".split()
_PROBLEMS = "error failure problem delay warning crash".split()
_SUBJECTS = "budget project travel sales training holiday market design security office customer product".split()
_PAPERS = "report update plan question review summary list offer".split()
_OCCASIONS = "team family project budget office school weekly monthly birthday garden client music".split()
_EVENTS = "meeting lunch dinner call party training visit walk".split()
_MOMENTS, _WORKOUTS = "morning evening weekly summer quick home holiday".split(), "workout training routine".split()
_HOBBIES = "Chess Book Running Garden Film Music Dance Travel Tennis Cooking Hiking Photo".split()
_CLUBS = "Club Group Team Friends".split()
_DISH_FLAVOURS = "tomato chicken mushroom onion carrot fish bean potato lemon cheese beef pumpkin".split()
_DISHES = "soup salad pie curry stew pasta".split()
_PAYMENTS, _DUES = "monthly yearly first second final late summer school".split(), "rent bill fee gift payment".split()
_LIMITS = "max min default total".split()
_LIMITED = "users files size speed memory time pages threads errors".split()
_FOLDERS = "data docs home reports backup work shared archive".split()
_FILES = """
budget report notes letter plan invoice map menu contract summary list photo beach garden family house dog sunset party
team
""".split()
_COUPONS = "SAVE SALE GIFT SUMMER WINTER HAPPY SPRING EXTRA".split()
_APPS = """
calendar wallet payroll mail shop library forum gallery search billing chat music weather backup inventory reports
""".split()
_WORDS = """
news general sales support travel urgent design market project training health spring random help events jobs
""".split()
_TABLES = "customers orders products users invoices employees suppliers payments books students".split()
_COLUMNS = "name price date city country weight colour email status quantity phone age title size address".split()
_LISTS = "birthday wedding holiday kitchen baby camping school winter bedroom office".split()
_TICKERS = "AAPL MSFT GOOG AMZN TSLA NVDA META IBM INTC AMD NFLX ORCL CSCO ADBE SONY UBER EBAY NOK BMW VISA".split()
_TOPICS = _phrases("""
solar power|chess openings|medieval castles|deep sea fish|jazz history|electric cars|coral reefs|black holes
bird migration|modern poetry|quantum computing|urban gardening|ancient Egypt|marathon training|wood carving
renewable energy|machine translation|stock markets|space telescopes|wild mushrooms|public transport|film music
desert plants|clean water|school lunches|wind farms|old maps|city parks|river trade|mountain railways
""")
_SUBSTANCES = """
water ethanol methane benzene glucose ammonia acetone propane butane nitrogen helium argon copper iron aluminium
zinc nickel titanium silicon graphite quartz urea sulfur chlorine neon hydrogen oxygen lithium carbon lead
""".split()
_LIQUIDS = "oil milk alcohol mercury petrol seawater juice honey syrup beer wine vinegar".split()
_MEDICINES = """
aspirin ibuprofen insulin penicillin codeine morphine statins melatonin heparin caffeine cortisol steroids antibiotics
vitamins iodine
""".split()
_SPECIES = """
lion tiger wolf otter eagle salmon trout octopus dolphin elephant giraffe koala penguin bison bear fox deer whale shark
robin sparrow beetle oak maple birch lavender orchid sunflower tortoise frog
""".split()
_VEGETABLES = """
spinach pumpkin garlic leeks cabbage peppers potatoes carrots tomatoes onions lettuce celery peas broccoli cucumbers
""".split()
_FOODS = """
chicken lentils mushrooms tofu rice noodles beans ginger shrimp beef lamb eggs cheese olives bread butter walnuts yogurt
apples lemons
""".split()
_CURRENCIES = "USD EUR GBP JPY CHF SEK NOK CAD AUD INR BRL CNY".split()
_LANGUAGES = "French German Spanish Italian Polish Danish Greek Turkish Korean Hindi Dutch Czech Finnish Welsh".split()
_COUNTRIES = """
France Germany Spain Italy Poland Denmark Greece Turkey Japan India Brazil Canada Mexico Kenya Egypt Norway Chile Peru
Portugal Austria Ireland Vietnam Thailand Morocco
""".split()
_CHINESE_CITIES = "北京 上海 广州 深圳 杭州 成都 南京 武汉 西安 重庆 苏州 天津 长沙 青岛 大连".split()
_CHINESE_FOODS = "鸡肉 牛肉 豆腐 土豆 番茄 鸡蛋 米饭 面条 白菜 黄瓜 虾仁 洋葱 南瓜 玉米 大蒜".split()
_CHINESE_ANIMALS = "狮子 老虎 大象 企鹅 海豚 熊猫 麻雀 蜜蜂 乌龟 白马".split()
_CHINESE_SUBSTANCES = "水 乙醇 甲烷 丙酮 氨 铜 铁 铝 石英 尿素".split()
_CHINESE_TITLES = "春天的 夏天的 秋天的 冬天的 我的 蓝色的 金色的".split(), "风 海 河 月亮 信 路 花 山 歌 家".split()
_CHINESE_THINGS = "红色 蓝色 白色 黑色 绿色".split(), "雨伞 手套 毛巾 椅子 花瓶 背包 镜子 围巾".split()
_CHINESE_LAMPS = "客厅灯 卧室灯 厨房灯 书房灯 门口灯 楼梯灯 浴室灯 花园灯 床头灯 走廊灯".split()
_CHINESE_MESSAGES = "今天 明天 今晚 周末 下午".split(), "我会晚到 不用等我 一起吃饭 我去买菜 我在家 给我打电话".split()
_CHINESE_SUBJECTS = "项目 预算 会议 旅行 课程".split(), "报告 计划 安排 问题 总结".split()
_CHINESE_EVENTS = "团队 项目 家庭 公司 生日".split(), "会议 聚餐 活动 培训 电话".split()
_CHINESE_PROBLEMS = "登录 打印 网络 支付 邮件 下载".split(), "失败 太慢 出错 中断".split()
_CHINESE_TOPICS = "太阳能 国际象棋 机器翻译 公共交通 电动汽车 黑洞 股票市场 古埃及 疫苗 茶道".split()
_CHINESE_SURNAMES, _CHINESE_NAMES = "王李张刘陈杨赵黄周吴", "伟芳娜敏静丽强军洋勇杰明超平刚"
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()


class Kind(NamedTuple):
    """How values of a kind look: their JSON schema, who draws one, and whether the set is open (split in two)."""

    schema: dict[str, Any]
    draw: Callable[[random.Random], Any]
    open: bool = True


def _one_of(*pools: Sequence[str]) -> Callable[[random.Random], str]:
    pool = [value for values in pools for value in values]
    return lambda rng: rng.choice(pool)


def _joined(*pools: Sequence[str], by: str = " ") -> Callable[[random.Random], str]:
    """Draw a word of each pool, and put them together."""
    return lambda rng: by.join(rng.choice(pool) for pool in pools)


def _between(low: int, high: int, step: int = 1) -> Callable[[random.Random], int]:
    return lambda rng: rng.randrange(low, high + 1, step)


def _decimal_between(low: float, high: float, places: int = 1) -> Callable[[random.Random], float]:
    """Draw a number with so many decimal places, without a zero as its only one."""

    def draw_one(rng: random.Random) -> float:
        value = round(rng.uniform(low, high), places)
        return int(value) if value.is_integer() else value

    return draw_one


def _letters(rng: random.Random, count: int) -> str:
    return "".join(rng.choice(_CAPITALS) for _ in range(count))


def _digits(rng: random.Random, *counts: int) -> str:
    return "".join(rng.choice(_DIGITS) for _ in range(rng.choice(counts)))


def _code(rng: random.Random) -> str:
    """Letters and digits, as orders, bookings and parts have them."""
    return f"{_letters(rng, 2)}{rng.choice(('', '-'))}{_digits(rng, 3, 4)}"


def _number(rng: random.Random) -> float:
    return rng.randint(2, 200) if rng.random() < 0.5 else _decimal_between(0.1, 60)(rng)


def _measure(*units: str) -> Callable[[random.Random], str]:
    return lambda rng: f"{_number(rng)} {rng.choice(units)}"


def _formula(rng: random.Random) -> str:
    """Write a term in one variable, in the notations that people use."""
    x = rng.choice("xxxty")
    a, b, c, n = (rng.randint(2, 9) for _ in range(4))
    forms = (
        f"{a}{x}^2 + {b}{x} - {c}",
        f"{x}^{n} - {a}",
        f"{a}*{x}**2 + {b}*{x}",
        f"sin({a}{x}) + {b}",
        f"({x} + {a})/({x} - {b})",
        f"sqrt({x} + {a})",
        f"log({a}*{x}) * {b}",
        f"{x}**{n} - {a}*{x} + {b}",
    )
    return rng.choice(forms)


def _sum(rng: random.Random) -> str:
    a, b, c = (rng.randint(2, 99) for _ in range(3))
    forms = (f"{a} * ({b} + {c})", f"{a} + {b} / {c}", f"({a} - {b}) * {c}", f"{a}^2 + {b}", f"sqrt({a}) * {b}")
    return rng.choice(forms)


def _street(rng: random.Random) -> str:
    return f"{rng.randint(1, 99)} {rng.choice(_STREET_NAMES)} {rng.choice(_STREETS)}"


def _phone(rng: random.Random) -> str:
    return rng.choice((f"+{rng.randint(1, 99)} {_digits(rng, 3)} {_digits(rng, 4)}", f"555-{_digits(rng, 4)}"))


def _date(rng: random.Random) -> str:
    return f"{rng.randint(2024, 2028)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def _time(rng: random.Random) -> str:
    return f"{rng.randint(0, 23):02d}:{rng.randrange(0, 60, 5):02d}"


def _goods(rng: random.Random) -> str:
    return f"the {rng.choice(_COLOURS)} {rng.choice(_THINGS)}"


def _message(rng: random.Random) -> str:
    goods, name = _goods(rng), rng.choice(_FIRST)
    forms = (
        f"I will be {rng.randrange(5, 60, 5)} minutes late, {name}",
        f"Please bring {goods}",
        f"Do not forget {goods}",
        f"Thanks for {goods}, {name}",
        f"{name} wants {goods} back",
        f"The {rng.choice(_EVENTS)} with {name} is at {_time(rng)}",
    )
    return rng.choice(forms)


def _file(folders: Sequence[str], *endings: str) -> Callable[[random.Random], str]:
    return lambda rng: f"/{rng.choice(folders)}/{rng.choice(_FILES)}_{rng.randint(1, 30)}.{rng.choice(endings)}"


def _email(rng: random.Random) -> str:
    domain = rng.choice(("mail.com", "post.net", "work.com", "home.net"))
    return f"{rng.choice(_FIRST)}.{rng.choice(_LAST)}@{domain}".lower()


def _url(rng: random.Random) -> str:
    site = rng.choice(_OCCASIONS) + rng.choice(_TABLES)
    return f"https://{site}.{rng.choice(('com', 'org', 'net'))}/{rng.choice(_FILES)}"


_TEXT: dict[str, Any] = {"type": "string"}
_INTEGER: dict[str, Any] = {"type": "integer"}
_NUMBER: dict[str, Any] = {"type": "number"}

KINDS: dict[str, Kind] = {
    "person": Kind(_TEXT, _joined(_FIRST, _LAST)),
    "first": Kind(_TEXT, _one_of(_FIRST)),
    "last": Kind(_TEXT, _one_of(_LAST)),
    "city": Kind(_TEXT, _one_of(_CITIES)),
    "place": Kind(_TEXT, _joined(_CITIES, _PLACES)),
    "hall": Kind(_TEXT, _joined(_CITIES, ("Arena", "Sports Hall", "Stadium"))),
    "street": Kind(_TEXT, _street),
    "zip": Kind(_TEXT, lambda rng: _digits(rng, 5)),
    "date": Kind(_TEXT, _date),
    "time": Kind(_TEXT, _time),
    "year": Kind(_INTEGER, _between(1950, 2029)),
    "birth_year": Kind(_INTEGER, _between(1950, 2009)),
    "count": Kind(_INTEGER, _between(2, 60)),
    "few": Kind(_INTEGER, _between(2, 12), open=False),
    "small": Kind(_INTEGER, _between(2, 8), open=False),
    "sides": Kind(_INTEGER, lambda rng: rng.choice((4, 6, 8, 10, 12, 20)), open=False),
    "tens": Kind(_INTEGER, _between(10, 500, 10)),
    "age": Kind(_INTEGER, _between(18, 92), open=False),
    "share": Kind(_INTEGER, _between(5, 100, 5), open=False),
    "oven": Kind(_INTEGER, _between(80, 250, 5)),
    "kelvin": Kind(_INTEGER, _between(200, 600)),
    "pixels": Kind(_INTEGER, _between(100, 2000, 10)),
    "port": Kind(_INTEGER, _between(1024, 9999)),
    "minutes": Kind(_INTEGER, _between(5, 180, 5)),
    "steps": Kind(_INTEGER, _between(3000, 20000, 100)),
    "lap": Kind(_INTEGER, _between(4, 80)),
    "grams": Kind(_INTEGER, _between(20, 900, 10)),
    "pressure": Kind(_INTEGER, _between(100, 180)),
    "low_pressure": Kind(_INTEGER, _between(55, 95)),
    "speed": Kind(_INTEGER, _between(70, 180)),
    "limit": Kind(_INTEGER, _between(30, 60, 10), open=False),
    "amount": Kind(_INTEGER, lambda rng: rng.choice((rng.randint(10, 999), rng.randrange(1000, 10000, 50)))),
    "big": Kind(_INTEGER, _between(10_000, 900_000, 1000)),
    "below_zero": Kind(_INTEGER, _between(-30, -1)),
    "signed": Kind(_INTEGER, _between(-30, 40)),
    "decimal": Kind(_NUMBER, _decimal_between(0.2, 60)),
    "low": Kind(_NUMBER, _decimal_between(0.5, 15)),
    "number": Kind(_NUMBER, _number),
    "signed_decimal": Kind(_NUMBER, _decimal_between(-20, 20)),
    "latitude": Kind(_NUMBER, _decimal_between(-60, 70, 2)),
    "longitude": Kind(_NUMBER, _decimal_between(-180, 180, 2)),
    "celsius": Kind(_NUMBER, _decimal_between(14, 28)),
    "kilograms": Kind(_NUMBER, _decimal_between(40, 120)),
    "metres_tall": Kind(_NUMBER, _decimal_between(1.4, 2.1, 2)),
    "kilometres": Kind(_NUMBER, _decimal_between(0.5, 40)),
    "shoe_size": Kind(_NUMBER, lambda rng: rng.randint(34, 48) + rng.choice((0, 0.5))),
    "price": Kind(_NUMBER, lambda rng: rng.randint(2, 150) + rng.choice((0.25, 0.49, 0.5, 0.75, 0.95, 0.99))),
    "percent": Kind(_NUMBER, _decimal_between(0.5, 20)),
    "interest": Kind(_NUMBER, lambda rng: round(rng.randint(2, 40) * 0.005, 3)),
    "rate": Kind(_NUMBER, _decimal_between(0.01, 0.99, 2)),
    "code": Kind(_TEXT, _code),
    "coupon": Kind(_TEXT, lambda rng: f"{rng.choice(_COUPONS)}{rng.randrange(5, 65, 5)}"),
    "version": Kind(_TEXT, lambda rng: ".".join(str(rng.randint(0, 12)) for _ in range(rng.choice((2, 3))))),
    "ticker": Kind(_TEXT, _one_of(_TICKERS)),
    "account": Kind(_TEXT, lambda rng: _digits(rng, 6)),
    "room": Kind(_TEXT, lambda rng: f"{rng.choice('ABCDEFGH')}{rng.randint(10, 399)}"),
    "user": Kind(_TEXT, lambda rng: f"{rng.choice(_FIRST).lower()}{rng.randint(1, 99)}"),
    "title": Kind(_TEXT, _joined(_ADJECTIVES, _NOUNS)),
    "playlist": Kind(_TEXT, _joined(_PLAYLISTS, _MUSIC)),
    "firm": Kind(_TEXT, _joined(_FIRM_WORDS, _TRADES)),
    "shop": Kind(_TEXT, _joined(_FIRM_WORDS, ("Market", "Store", "Foods"))),
    "pharmacy": Kind(_TEXT, _joined(_LAST, ("Pharmacy",))),
    "team": Kind(_TEXT, _joined(_CITIES, _TEAMS)),
    "league": Kind(_TEXT, _joined(_LEAGUES, _CUPS)),
    "law": Kind(_TEXT, _joined(_LAWS, ("Act", "Law", "Code"))),
    "legal": Kind(_TEXT, _joined(_LAWS_OF, _RIGHTS)),
    "club": Kind(_TEXT, _joined(_HOBBIES, _CLUBS)),
    "lamp": Kind(_TEXT, _joined(_ROOMS, _LAMPS)),
    "device": Kind(_TEXT, _joined(_ROOMS, _DEVICES)),
    "problem": Kind(_TEXT, _joined(_PARTS, _PROBLEMS)),
    "subject": Kind(_TEXT, _joined(_SUBJECTS, _PAPERS)),
    "event": Kind(_TEXT, _joined(_OCCASIONS, _EVENTS)),
    "workout": Kind(_TEXT, _joined(_MOMENTS, _WORKOUTS)),
    "dish": Kind(_TEXT, _joined(_DISH_FLAVOURS, _DISHES)),
    "purpose": Kind(_TEXT, _joined(_PAYMENTS, _DUES)),
    "thing": Kind(_TEXT, _joined(_COLOURS, _THINGS)),
    "topic": Kind(_TEXT, _one_of(_TOPICS)),
    "message": Kind(_TEXT, _message),
    "chore": Kind(_TEXT, lambda rng: f"{rng.choice(_CHORES)} {_goods(rng)}"),
    "complaint": Kind(_TEXT, lambda rng: f"{_goods(rng)} {rng.choice(_FAULTS)}"),
    "review": Kind(_TEXT, lambda rng: f"{_goods(rng)} {rng.choice(_OPINIONS)}"),
    "word": Kind(_TEXT, _one_of(_WORDS)),
    "file_word": Kind(_TEXT, _one_of(_FILES)),
    "app": Kind(_TEXT, _one_of(_APPS)),
    "setting": Kind(_TEXT, _joined(_LIMITS, _LIMITED, by="_")),
    "table": Kind(_TEXT, _one_of(_TABLES)),
    "column": Kind(_TEXT, _one_of(_COLUMNS)),
    "list": Kind(_TEXT, _one_of(_LISTS)),
    "email": Kind(_TEXT, _email),
    "phone": Kind(_TEXT, _phone),
    "document": Kind(_TEXT, _file(_FOLDERS, "txt", "pdf")),
    "picture": Kind(_TEXT, _file(("images", "photos", "scans"), "png", "jpg")),
    "folder": Kind(_TEXT, lambda rng: f"/{rng.choice(_FOLDERS)}/{rng.choice(_SUBJECTS)}"),
    "url": Kind(_TEXT, _url),
    "length": Kind(_TEXT, _measure("m", "cm", "nautical miles")),
    "volume": Kind(_TEXT, _measure("ml", "litres", "L")),
    "dose": Kind(_TEXT, lambda rng: f"{rng.randrange(5, 405, 5)} {rng.choice(('mg', 'ml'))}"),
    "formula": Kind(_TEXT, _formula),
    "sum": Kind(_TEXT, _sum),
    "sequence": Kind(_TEXT, lambda rng: "".join(rng.choice("ACGT") for _ in range(8))),
    "motif": Kind(_TEXT, lambda rng: "".join(rng.choice("ACGT") for _ in range(rng.choice((3, 4))))),
    "hex": Kind(_TEXT, lambda rng: f"#{rng.randrange(16**6):06X}"),
    "ip": Kind(_TEXT, lambda rng: f"{rng.choice(('192.168', '10.0'))}.{rng.randint(0, 9)}.{rng.randint(2, 99)}"),
    "substance": Kind(_TEXT, _one_of(_SUBSTANCES)),
    "liquid": Kind(_TEXT, _one_of(_LIQUIDS)),
    "medicine": Kind(_TEXT, _one_of(_MEDICINES)),
    "species": Kind(_TEXT, _one_of(_SPECIES)),
    "vegetable": Kind(_TEXT, _one_of(_VEGETABLES)),
    "ingredient": Kind(_TEXT, _one_of(_VEGETABLES, _FOODS)),
    "currency": Kind(_TEXT, _one_of(_CURRENCIES), open=False),
    "language": Kind(_TEXT, _one_of(_LANGUAGES), open=False),
    "country": Kind(_TEXT, _one_of(_COUNTRIES), open=False),
}  # fmt: skip
"""Every kind by its name."""

SENTENCES = ("message", "chore", "complaint", "review")
"""Kinds whose values are sentences, which stand in quotes where something follows."""

LIKENESS = {
    **dict.fromkeys(
        (
            *("title", "playlist", "firm", "shop", "pharmacy", "team", "league", "law", "legal", "club"),
            *("place", "hall", "lamp", "device", "problem", "subject", "event", "workout", "dish"),
            *("purpose", "thing", "topic", *SENTENCES),
        ),
        "words",
    ),
    **dict.fromkeys(("person", "first", "last"), "name"),
    **dict.fromkeys(("word", "file_word", "app", "setting", "table", "column", "list", "user"), "word"),
    **dict.fromkeys(("code", "coupon", "room", "account", "zip", "ticker", "version"), "code"),
    **dict.fromkeys(("document", "picture", "folder"), "path"),
    **dict.fromkeys(("sequence", "motif"), "sequence"),
    **dict.fromkeys(("substance", "liquid"), "substance"),
    **dict.fromkeys(("vegetable", "ingredient"), "food"),
    **dict.fromkeys(("formula", "sum"), "formula"),
}
"""What values of a kind look like, where several kinds look the same."""

_CHINESE: dict[str, Callable[[random.Random], str]] = {
    "person": _joined(_CHINESE_SURNAMES, _CHINESE_NAMES, by=""),
    "city": _one_of(_CHINESE_CITIES),
    "ingredient": _one_of(_CHINESE_FOODS),
    "species": _one_of(_CHINESE_ANIMALS),
    "substance": _one_of(_CHINESE_SUBSTANCES),
    "title": _joined(*_CHINESE_TITLES, by=""),
    "thing": _joined(*_CHINESE_THINGS, by=""),
    "lamp": _one_of(_CHINESE_LAMPS),
    "message": _joined(*_CHINESE_MESSAGES, by=""),
    "subject": _joined(*_CHINESE_SUBJECTS, by=""),
    "event": _joined(*_CHINESE_EVENTS, by=""),
    "problem": _joined(*_CHINESE_PROBLEMS, by=""),
    "topic": _one_of(_CHINESE_TOPICS),
}
"""Who draws the values of a kind in a Chinese request."""

_POOLS = (
    _FIRST, _LAST, _CITIES, _WORDS, _FILES, _APPS, _TABLES, _COLUMNS, _LISTS, _TICKERS, _TOPICS, _SUBSTANCES, _LIQUIDS,
    _MEDICINES, _SPECIES, _VEGETABLES, _FOODS, _CHINESE_CITIES, _CHINESE_FOODS, _CHINESE_ANIMALS, _CHINESE_SUBSTANCES,
    _CHINESE_LAMPS, _CHINESE_TOPICS,
)  # fmt: skip
"""Pools of whole values."""
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
        case int() if kind in ("count", "few", "small") and value < len(_NUMBER_WORDS) and rng.random() < 0.4:
            return _NUMBER_WORDS[value]
        case str() if kind in ("title", "formula", "sum", *SENTENCES) and rng.random() < 0.5:
            return in_quotes(rng, value)
        case _:
            return str(value)


def in_quotes(rng: random.Random, text: str) -> str:
    """Return a text in quotes of one kind or another, once."""
    quote = rng.choice("'\"")
    return text if text[0] in "'\"" else f"{quote}{text}{quote}"
