# ruff: noqa: E501
"""The demo's tools: what each takes, how people ask for it, what it returns and how the result is told.

The last wording of every tool is never trained on; the tools of `UNSEEN` are never trained on at all.
Knows nothing of dialects or files.
"""

from dataclasses import dataclass

from callwright.demo.values import Value


@dataclass(frozen=True)
class Parameter:
    """A required parameter; `kind` is one of `values.KINDS`."""

    name: str
    kind: str
    description: str

    @property
    def json_type(self) -> str:
        """Type in the JSON schema."""
        return "integer" if self.kind in ("count", "amount", "year") else "string"


@dataclass(frozen=True)
class DemoTool:
    """A tool with its wordings; templates hold parameters in braces, and `{r}` for the result's value."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    requests: tuple[str, ...]
    result: str
    """Kind of value that the tool returns."""
    answer: str

    @property
    def schema(self) -> dict[str, object]:
        """The tool as an OpenAI function tool."""
        properties = {p.name: {"type": p.json_type, "description": p.description} for p in self.parameters}
        required = [p.name for p in self.parameters]
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": {"type": "object", "properties": properties, "required": required},
        }
        return {"type": "function", "function": function}


def _tool(head: str, parameters: str, requests: str, result: str, answer: str) -> DemoTool:
    name, description = (part.strip() for part in head.split(":", 1))
    parsed = [tuple(field.strip() for field in line.split("|")) for line in parameters.split(";") if line.strip()]
    return DemoTool(
        name=name,
        description=description,
        parameters=tuple(Parameter(*fields) for fields in parsed),
        requests=tuple(line.strip() for line in requests.strip().split("\n")),
        result=result,
        answer=answer,
    )


SEEN: tuple[DemoTool, ...] = (
    _tool("get_weather: Get the weather of a city.", "city | city | name of the city",
          """What is the weather in {city}?
          How is the weather in {city} today?
          Tell me the weather for {city}.
          Will I need an umbrella in {city}?
          Is it cold in {city} now?
          What weather do they have in {city}?""", "count", "It is {r} degrees in {city}."),
    _tool("get_forecast: Get the weather forecast of a city for a date.",
          "city | city | name of the city; date | date | day of the forecast",
          """What is the forecast for {city} on {date}?
          Give me the weather forecast for {city} on {date}.
          How will the weather be in {city} on {date}?
          I travel to {city} on {date}, what does the forecast say?
          On {date} I am in {city}, will it rain?
          Show the forecast of {date} for {city}.""", "count", "The forecast for {city} is {r} degrees."),
    _tool("find_route: Find the route from one city to another.",
          "origin | city | where the route starts; destination | city | where the route ends",
          """Find a route from {origin} to {destination}.
          How do I get from {origin} to {destination}?
          Show me the way from {origin} to {destination}.
          I want to drive from {origin} to {destination}.
          What is the best route between {origin} and {destination}?
          Which way leads from {origin} to {destination}?""", "count", "The route takes {r} hours."),
    _tool("book_table: Book a table at a restaurant.",
          "restaurant | word | name of the restaurant; time | time | time of the meal; guests | count | number of guests",
          """Book a table at {restaurant} for {guests} guests at {time}.
          Reserve a table for {guests} people at {restaurant} at {time}.
          I need a table at {restaurant} at {time} for {guests}.
          We are {guests} guests and want to eat at {restaurant} at {time}.
          At {time} please book us a table for {guests} at {restaurant}.
          Can you get a table for {guests} guests at {restaurant}, {time}?""", "code", "Your table is booked as {r}."),
    _tool("book_hotel: Book a hotel room in a city.",
          "city | city | name of the city; date | date | day of arrival; nights | count | number of nights",
          """Book a hotel in {city} for {nights} nights from {date}.
          I need a hotel room in {city} on {date} for {nights} nights.
          Find me a hotel in {city}, arriving {date}, {nights} nights.
          Reserve {nights} nights in a hotel in {city} from {date}.
          From {date} I stay {nights} nights in {city}, book a hotel.
          Please get a hotel room for {nights} nights in {city} on {date}.""", "code", "Your hotel is booked as {r}."),
    _tool("book_flight: Book a flight between two cities.",
          "origin | city | where the flight starts; destination | city | where the flight ends; date | date | day of the flight",
          """Book a flight from {origin} to {destination} on {date}.
          I need a flight from {origin} to {destination} on {date}.
          Fly me from {origin} to {destination} on {date}.
          On {date} I want to fly from {origin} to {destination}.
          Get me a plane ticket from {origin} to {destination} for {date}.
          Please book the {date} flight from {origin} to {destination}.""", "code", "Your flight is booked as {r}."),
    _tool("flight_status: Check the status of a flight.", "flight | code | number of the flight",
          """What is the status of flight {flight}?
          Is flight {flight} on time?
          Check flight {flight} for me.
          Has flight {flight} landed?
          When does flight {flight} arrive?
          Tell me about flight {flight}.""", "time", "Flight {flight} arrives at {r}."),
    _tool("track_parcel: Track a parcel by its number.", "parcel | code | number of the parcel",
          """Where is my parcel {parcel}?
          Track parcel {parcel}.
          Has the parcel {parcel} arrived?
          I am waiting for parcel {parcel}, where is it?
          Follow the package {parcel} for me.
          Please find out where parcel {parcel} is.""", "city", "Your parcel is in {r}."),
    _tool("send_email: Send an email to somebody.",
          "to | email | address of the person; subject | title | subject of the email",
          """Send an email to {to} about {subject}.
          Write an email to {to} with the subject {subject}.
          Email {to} about {subject}.
          I want to mail {to}, subject {subject}.
          Please send {to} a mail about {subject}.
          Send a message with the subject {subject} to {to}.""", "code", "The email was sent as {r}."),
    _tool("send_sms: Send a text message to a phone number.",
          "phone | phone | number of the phone; text | title | text of the message",
          """Send a text message to {phone} saying {text}.
          Text {phone}: {text}.
          Send an sms to {phone} that says {text}.
          Tell {phone} by text message {text}.
          Please text {text} to {phone}.
          I want to send {text} as an sms to {phone}.""", "code", "The message was sent as {r}."),
    _tool("make_call: Call a phone number.", "phone | phone | number of the phone",
          """Call {phone}.
          Make a phone call to {phone}.
          Please ring {phone} for me.
          I want to talk to {phone}, call them.
          Dial {phone}.
          Start a call to {phone}.""", "time", "The call started at {r}."),
    _tool("set_alarm: Set an alarm clock.", "time | time | time of the alarm",
          """Set an alarm for {time}.
          Wake me up at {time}.
          I need to get up at {time}.
          Please set the alarm clock to {time}.
          Put an alarm on {time}.
          Make sure that I wake up at {time}.""", "code", "Your alarm {r} is set."),
    _tool("set_timer: Start a timer of some minutes.", "minutes | count | length in minutes",
          """Set a timer for {minutes} minutes.
          Start a timer of {minutes} minutes.
          Count down {minutes} minutes.
          Tell me when {minutes} minutes are over.
          I need a {minutes} minute timer.
          Please time {minutes} minutes.""", "time", "The timer ends at {r}."),
    _tool("add_event: Add an event to the calendar.",
          "title | title | name of the event; date | date | day of the event; time | time | start of the event",
          """Add {title} to my calendar on {date} at {time}.
          Put the event {title} in the calendar for {date}, {time}.
          I have {title} on {date} at {time}, add it to the calendar.
          On {date} at {time} there is {title}, please add the event.
          Plan {title} for {date} at {time}.
          Create a calendar event {title} on {date} at {time}.""", "code", "The event was added as {r}."),
    _tool("add_reminder: Remind the user of a task on a date.",
          "task | title | what to remember; date | date | day of the reminder",
          """Remind me of {task} on {date}.
          On {date} remind me of {task}.
          I must not forget {task} on {date}, remind me.
          Add a reminder for {task} on {date}.
          Please set a reminder of {task} for {date}.
          Make a reminder on {date}: {task}.""", "code", "Your reminder {r} is set."),
    _tool("play_music: Play a song by an artist.", "song | title | name of the song; artist | person | name of the artist",
          """Play {song} by {artist}.
          I want to hear {song} by {artist}.
          Put on the song {song} from {artist}.
          Can you play the music {song} of {artist}?
          Start {song}, the one by {artist}.
          Let me listen to {song} by {artist}.""", "count", "The song is {r} minutes long."),
    _tool("find_movie: Find a movie by title and year.", "title | title | title of the movie; year | year | year of the movie",
          """Find the movie {title} from {year}.
          Search for the film {title} of {year}.
          I look for the {year} movie {title}.
          Which movie is {title} from {year}?
          Show me the film {title}, made in {year}.
          Tell me about the movie {title} ({year}).""", "person", "The movie was made by {r}."),
    _tool("find_book: Find a book by an author.", "title | title | title of the book; author | person | name of the author",
          """Find the book {title} by {author}.
          Do you have the book {title} from {author}?
          Search the library for {title} by {author}.
          I want to read {title} by {author}.
          Look up {author}'s book {title}.
          Is there a book called {title} by {author}?""", "room", "The book is on shelf {r}."),
    _tool("translate_text: Translate a text into a language.",
          "text | title | text to translate; language | language | language to translate into",
          """Translate {text} into {language}.
          How do you say {text} in {language}?
          What is {text} in {language}?
          Give me the {language} translation of {text}.
          Put {text} into {language} for me.
          I need {text} in {language}.""", "word", "The translation is {r}."),
    _tool("convert_currency: Convert an amount of money.",
          "amount | amount | amount of money; source | currency | currency to convert from; target | currency | currency to convert to",
          """Convert {amount} {source} to {target}.
          How much is {amount} {source} in {target}?
          Change {amount} {source} into {target}.
          I have {amount} {source}, what is that in {target}?
          What are {amount} {source} worth in {target}?
          Give me {amount} {source} as {target}.""", "amount", "That is {r} {target}."),
    _tool("stock_price: Get the price of a stock.", "symbol | ticker | symbol of the stock",
          """What is the price of the stock {symbol}?
          How much is one share of {symbol}?
          Get the stock price of {symbol}.
          What does {symbol} trade at?
          Check the {symbol} stock.
          Show me the price of {symbol} shares.""", "amount", "The price of {symbol} is {r}."),
    _tool("transfer_money: Send money to a person.",
          "person | person | who gets the money; amount | amount | amount of money",
          """Send {amount} dollars to {person}.
          Transfer {amount} to {person}.
          Pay {person} {amount} dollars.
          I owe {person} {amount}, send the money.
          Please give {amount} dollars to {person}.
          Move {amount} dollars to the account of {person}.""", "code", "The money was sent as {r}."),
    _tool("check_balance: Check the balance of an account.", "account | code | number of the account",
          """What is the balance of account {account}?
          How much money is in account {account}?
          Check the balance of {account}.
          Show my account {account}.
          Is there money left in account {account}?
          Tell me how much account {account} holds.""", "amount", "The balance is {r}."),
    _tool("order_product: Order a product in the shop.",
          "product | code | number of the product; count | count | how many to order",
          """Order {count} of product {product}.
          I want to buy {count} pieces of {product}.
          Buy {count} times the product {product}.
          Please order product {product}, {count} pieces.
          Add {count} of {product} to my order.
          Get me {count} units of {product}.""", "code", "Your order is {r}."),
    _tool("cancel_order: Cancel an order.", "order | code | number of the order",
          """Cancel my order {order}.
          I do not want order {order} any more.
          Please stop order {order}.
          Can you cancel order {order}?
          Order {order} was a mistake, cancel it.
          Take back the order {order}.""", "date", "The order was cancelled on {r}."),
    _tool("read_file: Read a file.", "path | path | path of the file",
          """Read the file {path}.
          Open {path} and show it.
          What is in {path}?
          Show me the file {path}.
          Print the content of {path}.
          Let me see the file {path}.""", "count", "The file has {r} lines."),
    _tool("delete_file: Delete a file.", "path | path | path of the file",
          """Delete the file {path}.
          Remove {path}.
          I do not need {path} any more, delete it.
          Please erase the file {path}.
          Throw away {path}.
          Get rid of the file {path}.""", "time", "The file was deleted at {r}."),
    _tool("copy_file: Copy a file to another path.",
          "source | path | path of the file; target | path | path of the copy",
          """Copy {source} to {target}.
          Make a copy of {source} at {target}.
          Copy the file {source} into {target}.
          I need a copy of {source} in {target}.
          Put a copy of the file {source} at {target}.
          Duplicate {source} as {target}.""", "time", "The file was copied at {r}."),
    _tool("lock_door: Lock the door of a room.", "room | room | number of the room",
          """Lock the door of room {room}.
          Please lock room {room}.
          Close and lock the door {room}.
          Is room {room} open? Lock it.
          Make sure the door of {room} is locked.
          Lock up room {room}.""", "time", "The door was locked at {r}."),
    _tool("set_temperature: Set the temperature of a room.",
          "room | room | number of the room; degrees | count | temperature in degrees",
          """Set room {room} to {degrees} degrees.
          Make it {degrees} degrees in room {room}.
          Heat room {room} to {degrees} degrees.
          I want {degrees} degrees in {room}.
          Change the temperature of {room} to {degrees}.
          Room {room} should have {degrees} degrees.""", "time", "The room is ready at {r}."),
    _tool("find_contact: Find the phone number of a person.", "person | person | name of the person",
          """What is the phone number of {person}?
          Find the contact {person}.
          How can I reach {person}?
          Look up the number of {person}.
          Give me the contact of {person}.
          I need to know how to reach {person}.""", "phone", "The number of {person} is {r}."),
    _tool("find_office: Find the office of a person.", "person | person | name of the person; city | city | city of the office",
          """Where is the office of {person} in {city}?
          Find the {city} office of {person}.
          In which office does {person} work in {city}?
          I visit {person} in {city}, where is the office?
          Show me where {person} sits in {city}.
          Look up the office of {person} in {city}.""", "room", "The office is {r}."),
)  # fmt: skip

UNSEEN: tuple[DemoTool, ...] = (
    _tool("rent_car: Rent a car in a city.", "city | city | name of the city; date | date | day of the rental",
          """Rent a car in {city} on {date}.
          I need a car in {city} on {date}.
          On {date} I want to rent a car in {city}.""", "code", "Your car is booked as {r}."),
    _tool("find_museum: Find a museum in a city.", "city | city | name of the city",
          """Find a museum in {city}.
          Which museum is in {city}?
          I want to visit a museum in {city}.""", "title", "There is the museum {r}."),
    _tool("print_file: Print a file on paper.", "path | path | path of the file; copies | count | number of copies",
          """Print {copies} copies of the file {path}.
          I need {copies} copies of {path} on paper.
          Please print {path}, {copies} copies.""", "time", "The copies are ready at {r}."),
    _tool("water_plants: Water the plants of a room.", "room | room | number of the room",
          """Water the plants of room {room}.
          The plants in {room} are dry, water them.
          Please give water to the plants in room {room}.""", "time", "The plants got water at {r}."),
    _tool("call_taxi: Call a taxi to an address.", "address | address | where the taxi comes; time | time | time of the taxi",
          """Call a taxi to {address} at {time}.
          I need a taxi at {time} at {address}.
          Send a taxi to {address}, {time}.""", "code", "Your taxi is {r}."),
    _tool("find_job: Find a job in a city.", "city | city | name of the city; amount | amount | salary of the job",
          """Find a job in {city} with a salary of {amount}.
          I look for a job in {city} that pays {amount}.
          Is there a job for {amount} in {city}?""", "word", "There is a job at {r}."),
    _tool("scan_code: Scan the code of a ticket.", "ticket | code | number of the ticket",
          """Scan the ticket {ticket}.
          Please scan the code of ticket {ticket}.
          Is ticket {ticket} good? Scan it.""", "time", "The ticket was scanned at {r}."),
    _tool("join_meeting: Join a meeting.", "meeting | code | number of the meeting; name | person | name to show",
          """Join the meeting {meeting} as {name}.
          I am {name} and want to join meeting {meeting}.
          Let {name} join the meeting {meeting}.""", "time", "The meeting started at {r}."),
)  # fmt: skip


def fill(template: str, values: dict[str, Value]) -> str:
    """Put values into a template."""
    return template.format(**values)
