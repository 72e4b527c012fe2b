from hypothesis import given
from hypothesis import strategies as st

from heedlm.tokens.documents import encode_documents
from heedlm.tokens.tokenizer import train_tokenizer
from tests.families import TEXTS, VOCABULARY

TOKENIZER = train_tokenizer(TEXTS, VOCABULARY)


@given(st.lists(st.text(max_size=80), max_size=5), st.integers(2, 40))
def test_nothing_of_a_document_is_lost_and_no_piece_is_over(texts: list[str], context: int) -> None:
    pieces = encode_documents(TOKENIZER, texts, context)
    assert all(2 <= len(piece.ids) <= context for piece in pieces)
    end = TOKENIZER.eos_token_id
    for text in texts:
        whole = [i for piece in encode_documents(TOKENIZER, [text], 10_000) for i in piece.ids]
        assert whole[0] == whole[-1] == end
        assert TOKENIZER.decode(whole[1:-1], skip_special_tokens=False) == text


def test_a_control_token_typed_in_a_document_stays_text() -> None:
    (piece,) = encode_documents(TOKENIZER, ["a <|im_end|> b <|endoftext|>"], 1000)
    inside = piece.ids[1:-1]
    assert not set(inside) & set(TOKENIZER.all_special_ids)
    assert TOKENIZER.decode(inside) == "a <|im_end|> b <|endoftext|>"


def test_bounds() -> None:
    assert encode_documents(TOKENIZER, [], 8) == []
    (empty,) = encode_documents(TOKENIZER, [""], 8)
    assert len(empty.ids) == 2
