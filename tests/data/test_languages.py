"""Languages are told by script and small words, and where unsure nothing is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data.languages import LANGUAGES, language
from heedlm.data.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the name of the river that runs through this town?", "English"),
        ("Wie heißt der Fluss, der durch die Stadt fließt, und wo ist er?", "German"),
        ("Quel est le nom de la rivière qui passe dans cette ville ?", "French"),
        ("¿Cuál es el nombre del río que pasa por la ciudad?", "Spanish"),
        ("Qual è il nome del fiume che passa per la città?", "Italian"),
        ("Qual é o nome do rio que passa pela cidade e não para?", "Portuguese"),
        ("Wat is de naam van de rivier die door het dorp loopt en waar is hij?", "Dutch"),
        ("Vad heter floden som går genom staden och var är den?", "Swedish"),
        ("Как называется река, которая течёт через этот город, и где она?", "Russian"),
        ("Як називається річка, яка тече через це місто, і де вона?", "Ukrainian"),
        ("शहर से होकर बहने वाली नदी का नाम क्या है?", "Hindi"),
        ("穿过这座城市的河叫什么名字？", "Chinese"),
        ("この町を流れる川の名前は何ですか。", "Japanese"),
        ("이 도시를 지나는 강의 이름은 무엇입니까?", "Korean"),
        ("ما اسم النهر الذي يمر عبر المدينة؟", "Arabic"),
        ("ποιο είναι το όνομα του ποταμού;", "Greek"),
        ("แม่น้ำสายนี้ชื่ออะไร", "Thai"),
        ("", None),
        ("42 = 6 * 7", None),
        ("print(x) if y else z", None),
        ("Paris", None),
        ("hello привет hola здравствуй", None),
        ("the the the the", None),
    ],
)
def test_languages(text, expected):
    assert language(text, words(text)) == expected


@given(st.text())
def test_any_text_has_a_language_or_none(text):
    assert language(text, words(text)) in (None, "another script", *LANGUAGES)
