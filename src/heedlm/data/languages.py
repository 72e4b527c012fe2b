"""The language of a text, told by its script and its small words; nothing is downloaded, and where unsure nothing is said.

Twelve languages in Latin letters and three in Cyrillic are told apart by words that hardly any sentence does without;
other scripts stand for their most written language, which is all that a warning needs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence

_SMALL_WORDS = {
    "English": "the of and to in is that it was for on are as with his they at be this have from or had by but not what all "
    "were we when your can said there an each which she do how their if will up other about out many then them these so "
    "some her would make like him into has two more very you he i my me our who its been than could please should",
    "German": "der die das und ist nicht ein eine zu den von mit sich des auf für im dem auch als wird es an werden aus er hat "
    "dass sie nach bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr durch man "
    "ich du wir ihr mein dein sein kann wenn was wer warum welche bitte",
    "French": "le la les de des du et est un une dans que qui pour pas sur au par il elle ne se ce plus avec son sont aux cette "
    "mais ou ont été être nous vous leur ses comme tout je tu mon ton ma ta mes quel quelle où quoi pourquoi donc très sans "
    "était ces deux même fait peut faire",
    "Spanish": "el la los las de que y en un una es por con no se del al para su lo como más o pero sus le ya este sí porque esta "
    "entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante ni contra ese eso ante ellos cuál "
    "qué cómo está son era fue ser tiene puede",
    "Italian": "il lo la i gli le di che e è un una in per con non si del della dei delle al alla da dal nel nella sono come più ma "
    "anche questo questa suo sua ha hanno o se ci quale cosa perché essere stato molto tutti quando loro fare può chi dove",
    "Portuguese": "o a os as de que e do da em um uma para com não se no na por mais dos das como mas foi ao ele ela tem à seu sua "
    "ou ser quando muito há nos já está eu também só pelo pela até isso entre era depois sem mesmo aos qual você são pode "
    "uma nem",
    "Dutch": "de het een en van in is dat op te zijn met voor niet die aan er om ook als dan maar bij of uit nog naar heeft hij ze "
    "wordt worden door over tot kan deze dit geen wat wij ik je jij hun meer werd had was wel veel zo moet waar hoe",
    "Swedish": "och att det som en på är av för med den till inte om ett han men var jag sig från vi så kan när nu hon ska detta "
    "eller har hade de du där dem mycket efter vad vid mot här alla också blir vilken finns över mer många",
    "Danish": "og at det som en på er af for med den til ikke om et han men var jeg sig fra vi så kan når nu hun skal dette eller har "
    "havde de du hvor dem meget efter hvad ved mod her alle også bliver hvilken findes over mere mange være blev",
    "Polish": "i w na z się nie do jest że to jak o po ale co od za by tak są dla czy już tylko przez tego jego może być przy kiedy "
    "ten ta te który która które lub bardzo oraz jej ich był była było gdzie ma mają",
    "Turkish": "ve bir bu da de için ile çok ne gibi daha olarak o ama en kadar sonra var olan mi mı her ya ki ben sen biz siz onlar "
    "değil hangi nasıl neden olduğu göre şey kendi yok ise veya",
    "Indonesian": "yang dan di ini itu dengan untuk dari pada tidak dalam adalah akan ke juga saya kami mereka ada atau bisa oleh "
    "sebagai telah karena kita lebih sudah seperti dapat apa anda hanya saat bagi namun secara",
    "Russian": "и в не на я что он с как это по но они мы она так его за был от из у же вы ты бы для все или если только когда где "
    "кто есть была были быть может очень также который которая которые чтобы",
    "Ukrainian": "і в не на я що він з як це та але вони ми вона так його за був від із у же ви ти для все або якщо тільки коли де "
    "хто є була були бути може дуже також який яка які щоб й",
    "Bulgarian": "и в не на аз че той с как това по но те ние тя така за беше от у ще вие ти бил или ако само кога къде кой е са "
    "била били да може много също който която които се",
}
_TELLS: dict[str, tuple[str, ...]] = {}
for _name, _listed in _SMALL_WORDS.items():
    for _word in _listed.split():
        if len(_word) > 1 or _word > "z":  # single Latin letters are labels and articles at once
            _TELLS[_word] = (*_TELLS.get(_word, ()), _name)
SMALL_WORDS = frozenset(_TELLS)
ENGLISH = frozenset(_SMALL_WORDS["English"].split())

# First code point of each block of letters, and the language that its script stands for ("" = see the words).
_SCRIPTS = (
    (0x0000, ""), (0x0370, "Greek"), (0x0400, ""), (0x0530, "Armenian"), (0x0590, "Hebrew"), (0x0600, "Arabic"),
    (0x0700, "another script"), (0x0900, "Hindi"), (0x0980, "Bengali"), (0x0A00, "Punjabi"), (0x0A80, "Gujarati"),
    (0x0B00, "Odia"), (0x0B80, "Tamil"), (0x0C00, "Telugu"), (0x0C80, "Kannada"), (0x0D00, "Malayalam"),
    (0x0D80, "Sinhala"), (0x0E00, "Thai"), (0x0E80, "Lao"), (0x0F00, "Tibetan"), (0x1000, "Burmese"),
    (0x10A0, "Georgian"), (0x1100, "Korean"), (0x1200, "Amharic"), (0x13A0, "another script"), (0x1780, "Khmer"),
    (0x1800, "another script"), (0x1C80, ""), (0x1D80, ""), (0x1F00, "Greek"), (0x2000, ""), (0x3040, "Japanese"),
    (0x3100, "Chinese"), (0x3130, "Korean"), (0x3190, "Chinese"), (0xA000, "another script"), (0xAC00, "Korean"),
    (0xD800, "another script"), (0xF900, "Chinese"), (0xFB00, ""), (0xFB50, "Arabic"), (0xFF00, ""),
    (0xFF66, "Japanese"), (0xFFA0, "Korean"), (0x10000, "another script"), (0x1D400, ""), (0x20000, "Chinese"),
    (0x30000, "another script"),
)  # fmt: skip
_STARTS = [start for start, _ in _SCRIPTS]
LANGUAGES = tuple(dict.fromkeys([*_SMALL_WORDS, *(name for _, name in _SCRIPTS if name and name != "another script")]))
_LOOKED_AT = 4000  # characters; a longer text shows its language before
_WORDS = 100
_KINDS = 3  # different small words that must be there: one alone, repeated, says nothing


def language(text: str, found: Sequence[str]) -> str | None:
    """The name of the language in English, or None where the text is too short, mixed, or none of those known.

    found: the words of the text, in lower case.
    """
    if not text.isascii():
        letters = Counter[str]()
        for character, count in Counter(text[:_LOOKED_AT]).items():
            if character.isalpha():
                letters[_SCRIPTS[bisect_right(_STARTS, ord(character)) - 1][1]] += count
        if letters["Japanese"]:  # written with Han as well
            letters["Japanese"] += letters.pop("Chinese", 0)
        total = letters.total()
        if not total:
            return None
        script, most = letters.most_common(1)[0]
        if most < 0.7 * total:
            return None
        if script:
            return script
    return _by_words(found)


def _by_words(found: Sequence[str]) -> str | None:
    different = set(found[:_WORDS])
    votes: dict[str, int] = {}
    for word in SMALL_WORDS & different:
        for name in _TELLS[word]:
            votes[name] = votes.get(name, 0) + 1
    if not votes:
        return None
    most = max(votes, key=lambda name: (votes[name], name))
    second = max((count for name, count in votes.items() if name != most), default=0)
    enough = votes[most] >= _KINDS and votes[most] >= 0.12 * len(different)
    return most if enough and votes[most] >= 1.5 * second else None
