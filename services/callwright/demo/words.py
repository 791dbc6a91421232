"""Words of everyday English, what they are about, and what fields of forms are called. Knows nothing of text."""

VERBS = """
add answer ask begin book bring build buy call cancel carry change check choose clean close collect compare convert
cook copy count create cut delete describe draw drive email enter erase find follow format get give heat help hold
interact join keep know lend list listen load lock look lose make mark measure meet mix move name need observe open
order pack paint park pay pick plan plant play print put read record remind remove rent repair repeat reserve ring
save scan search see sell send set share show sign sort start stop store take talk teach tell test thank think throw
tidy time track transfer translate travel try turn use visit wait wake walk want wash watch water weigh work wrap
write
""".split()


NOUNS = """
access account action address alarm amount answer api arrival artist author balance bicycle bill bird boat book
bottle box bread bridge cake calendar camera car card case chair city class clock coat code coffee content contact
copy count country course crew cup currency date day degree desk destination dish doctor dog door dozen drawer email
engine event example file film final flight flower forecast form format friend game garden gate group guest guide
hand hat history horse hotel hour house image input integer item job journey key kitchen knife lamp language length
lesson letter library light line list location lunch machine map market meal meeting member message minute money
month movie museum music name night note number observation office option orange order origin output owner page
paint paper parameter parcel park part path person phone photo picture piece plan plane plant plate price product
question rain reason record reminder report request response restaurant result ring road room route salary school
season seat share shelf ship shirt shop sign sms snow something somebody song source space stamp station status
stock stone store story street string student subject sugar sum table target task taxi tea teacher team temperature
test text thing thought ticket tiger time timer title tool tower town toy track train translation tree type umbrella
unit user value visit voice wall watch water way weather week weight window wine winter word work world year
""".split()


ADJECTIVES = """
able bad best big blue bright broken calm cheap clean clear closed cold cool dark deep dry early easy empty fair
fast final fine first flat free fresh full good great green happy hard heavy high hot kind large last late light
little long loud low lucky nearest new nice old open quick quiet ready red rich right round sad safe second short
slow small soft sour strong sweet tall thick thin true useful warm weak wet white whole wide wild wise wrong yellow
young
""".split()


FUNCTION_WORDS = """
a about above access after again all also always am an and another any are as at away back be because been before
being below best between both but by can could did do does done down each either else end every few following for
from had has have having he her here him his how i if in into is it its just know least left less like many may me
more most much must my near never next no not now of off often on once one only or original other our out over own
please possible rather repeated require required said same she should since so some soon still such than that the
their them then there these they this those through times to together too top towards true false two under until up
upon us very was we well were what when where whether which while who whose why will with without would yes you your
zero
""".split()


WORDS = tuple(sorted({"API", "JSON", *VERBS, *NOUNS, *ADJECTIVES, *FUNCTION_WORDS}))


TOPICS: dict[str, tuple[str, ...]] = {
    name: tuple(words.split())
    for name, words in (
        line.split(": ")
        for line in """
weather: weather forecast rain snow wind sun storm cold warm dry wet umbrella coat sky cloud
travel: route way road map distance drive reach far journey leads
food: restaurant table dish meal lunch dinner cake tea coffee bread eat hungry guests
hotel: hotel room night nights bed stay sleep reception
planes: flight plane fly airport pilot wing land landed arriving
post: parcel package stamp box deliver delivery arrived waiting
email: email mail inbox letter subject sender write
messages: message sms text say saying says tell
phone: phone call ring dial talk voice number
morning: alarm wake early clock morning up
timers: timer minute minutes count down over countdown seconds
calendar: calendar event plan meeting week day agenda
memory: reminder remind forget remember task memory
music: music song artist play hear listen concert band
film: movie film cinema watch screen actor
reading: book author library read page writer story
languages: language translate word words grammar speak mean
money: money currency change exchange worth dollars cash coins
stock: stock price trade share shares market
bank: account balance bank save hold holds
giving: transfer pay give owe send debt
shopping: product buy order shop pieces units cart need
returns: cancel stop mistake refund back wrong
files: file open show contents inside document
waste: delete remove rid erase duplicate away
copies: copy copies twice again backup
doors: door lock locked close key shut
heating: temperature degrees heat heating warmer thermostat
people: person contact people friend find whom reach
offices: office desk sits work building works
cars: car rent drive wheel garage
museums: museum art paintings exhibition see visit
printing: print paper printer ink pages
plants: plant plants water flower garden dry
taxi: taxi cab ride pick driver
jobs: job salary hire career pays
tickets: ticket scan code gate entry
health: doctor medicine sick nurse pain
school: school lesson teacher student class
sport: game team ball goal match
trains: train track platform rail station
pets: dog cat tiger horse feed
clothes: shirt shoes hat dress wear
kitchen: cook knife cup plate oven
light: lamp light dark bright bulb
""".strip().split("\n")
    )
}
"""What words are about, as every speaker of English knows."""


FIELDS: dict[str, tuple[str, ...]] = {
    "person": ("name", "owner", "author", "artist", "person", "guest", "student"),
    "city": ("city", "town", "origin", "destination", "place", "home"),
    "date": ("date", "day", "arrival", "deadline"),
    "time": ("time", "start", "hour"),
    "count": ("count", "guests", "nights", "minutes", "age", "pieces", "degrees", "copies"),
    "amount": ("amount", "price", "salary", "sum"),
    "code": ("code", "order", "flight", "parcel", "account", "ticket", "product", "member"),
    "title": ("title", "subject", "text", "song", "task", "book"),
    "email": ("email", "to", "sender"),
    "path": ("path", "file", "source", "target"),
    "address": ("address", "street"),
    "phone": ("phone", "number"),
    "currency": ("currency", "money"),
    "language": ("language", "tongue"),
    "word": ("brand", "restaurant", "shop", "team"),
    "ticker": ("symbol", "sign"),
    "year": ("year", "since"),
    "room": ("room", "seat", "shelf"),
}


PREPOSITIONS: dict[str, tuple[str, ...]] = {
    "city": ("in", "to", "from", "near"),
    "date": ("on", "for"),
    "time": ("at", "from"),
    "person": ("for", "by", "with", "of"),
    "count": ("for", "with"),
    "amount": ("for", "of"),
    "room": ("in", "for", "of"),
    "year": ("from", "of"),
    "language": ("in", "into"),
    "address": ("to", "at"),
    "email": ("to", "from"),
    "path": ("of", "from", "to", "in"),
}
