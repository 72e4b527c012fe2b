"""Pages of a shop's books: lists read off again at once, line by line.

They hold more reading per word than any other page: who ordered what is told again in another order, and each row of
figures names its own highest. Copying from above, picking the largest: that is learnt here, used everywhere.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from heedlm.atlas import lexicon, sales
from heedlm.atlas.world import Document

_TITLES = ("Order book of {company}", "Orders in {town}", "{company}, {town}: orders", "Orders of {day}")
_LINES = ("{client}: {count} {product}", "{client}, {town}: {count} {product}", "- {count} {product} for {client}")
_TOLD = (
    "{client} ordered {count} {product}.",
    "The {product} of {client} were sent to {town}.",
    "{count} {product} went to {client}.",
    "{client} has paid for {count} {product}.",
    "The parcel for {client} holds {count} {product}.",
)
_ROWS = ("{label}: {listed}. Best month: {best}.", "{label}: {listed}. The best month was {best} with {high} units.")
_HIGHEST = ("{label}: {listed}. Highest: {high}.", "{label}: {listed}. Highest: {high}, lowest: {low}.")


def documents(rng: random.Random) -> Iterator[Document]:
    """Endless pages: order books, tables of months per shop, readings per day."""
    while True:
        page = rng.choice((_orders, _orders, _months, _readings))
        yield Document("ledger", page(rng))


def _orders(rng: random.Random) -> str:
    """Orders of several clients, told again in another order, at times with the largest."""
    slots = lexicon.cast(rng)
    count = rng.randint(3, 7)
    people = zip(
        rng.sample(lexicon.words("first_names"), count), rng.sample(lexicon.words("surnames"), count), strict=True
    )
    products = rng.sample(lexicon.words("products"), count)
    counts = sales.clear_values(rng, count)
    towns = rng.sample(lexicon.words("towns"), count)
    orders = [
        {"client": f"{first} {last}", "product": product, "count": str(number), "town": town}
        for (first, last), product, number, town in zip(people, products, counts, towns, strict=True)
    ]
    line = rng.choice(_LINES)
    listed = "\n".join(line.format_map(order) for order in orders)
    # A town can be told again only where the line has named it.
    options = [text for text in _TOLD if "{town}" not in text or "{town}" in line]
    sentences = [rng.choice(options).format_map(order) for order in rng.sample(orders, rng.randint(2, count))]
    if rng.random() < 0.5:
        largest = max(orders, key=lambda order: int(order["count"]))
        sentences.append("The largest order was that of {client}: {count} {product}.".format_map(largest))
    return "\n\n".join([lexicon.one_of(_TITLES, rng, slots), listed, " ".join(sentences)])


def _months(rng: random.Random) -> str:
    """The best month of several shops or products, one line each."""
    title = lexicon.one_of(("Best months of {company}", "Best months in {town}"), rng, lexicon.cast(rng))
    row = rng.choice(_ROWS)
    lines = []
    for label in rng.sample(lexicon.words(rng.choice(("towns", "products"))), rng.randint(3, 6)):
        figures = sales.draw(rng, rng.randint(3, 6))
        slots = {**figures.slots(), "label": label, "listed": sales.listing(figures, "inline")}
        lines.append(lexicon.expand(row, rng, slots))
    return "\n\n".join([title, "\n".join(lines)])


def _readings(rng: random.Random) -> str:
    """Plain numbers per weekday with the highest of each row."""
    things = "[visitors|letters|parcels|ships|trains|birds] in {town}"
    title = lexicon.expand(f"Counts of {things}", rng, lexicon.cast(rng))
    row = rng.choice(_HIGHEST)
    lines = []
    for label in lexicon.words("weekdays")[: rng.randint(4, 7)]:
        values = sales.clear_values(rng, rng.randint(3, 6))
        listed = ", ".join(str(value) for value in values)
        lines.append(row.format(label=label, listed=listed, high=max(values), low=min(values)))
    return "\n\n".join([title, "\n".join(lines)])
