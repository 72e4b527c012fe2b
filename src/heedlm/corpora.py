"""What pretraining reads: the built-in world, or a file of documents."""

from __future__ import annotations

from collections.abc import Callable

from heedlm.errors import HeedError
from heedlm.pretrain_config import PretrainRecipe

TOKENIZER_DOCUMENTS = 8000
VALIDATION_DOCUMENTS = 200


def documents_of(recipe: PretrainRecipe) -> Callable[[str], list[str]]:
    """The documents of each part: fresh ones per epoch from the built-in world, or a file cut into validation and rest."""
    sizes = {"tokenizer": TOKENIZER_DOCUMENTS, "val": VALIDATION_DOCUMENTS}
    if recipe.corpus.source == "atlas":
        from heedlm.atlas import corpus

        mix = {str(kind): share for kind, share in recipe.corpus.mix.items()}
        return lambda part: corpus.texts(f"{recipe.seed}/{part}", sizes.get(part, recipe.corpus.documents), mix)
    from heedlm.data.documents import read_documents

    texts = list(read_documents(recipe.corpus.source))
    if len(texts) < 2:
        raise HeedError("A corpus needs at least two documents.", recipe.corpus.source, 'one {"text": "..."} per line')
    held = min(VALIDATION_DOCUMENTS, len(texts) // 2)
    rest = texts[held:]

    def part_of(part: str) -> list[str]:
        if part == "val":
            return texts[:held]
        if part == "tokenizer":
            return rest[: sizes["tokenizer"]]
        size = min(recipe.corpus.documents, len(rest))  # an epoch is a window that moves on through the whole file
        start = int(part.removeprefix("epoch-")) * size
        return [rest[(start + i) % len(rest)] for i in range(size)]

    return part_of
