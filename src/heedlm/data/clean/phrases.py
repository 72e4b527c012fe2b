"""Phrases of assistants that refuse, or speak about being a model, in the languages in which they are most often seen."""

from __future__ import annotations

from collections.abc import Iterable

from heedlm.data.clean.answers import excerpt
from heedlm.data.words import words

# Anywhere in an answer, in lower case with straight apostrophes.
_BOILERPLATE = (
    "as an ai language model", "as an ai model", "as an ai assistant", "as an ai,", "as an ai i", "as an artificial intelligence",
    "as a large language model", "as a language model", "i'm just an ai", "i am just an ai", "i'm only an ai",
    "i am an ai language model", "i'm an ai language model", "i am a large language model", "i'm a large language model",
    "as a machine learning model", "being an ai language model", "my knowledge cutoff", "my knowledge cut-off",
    "as of my last knowledge update", "as of my last update", "my last training data", "my training data only",
    "i don't have personal opinions", "i do not have personal opinions", "i don't have personal feelings",
    "i don't have personal experience", "i do not have personal experience", "i don't have feelings or",
    "i do not have the ability to feel", "i don't have access to real-time", "i do not have access to real-time",
    "i don't have access to the internet", "i cannot browse the internet", "i can't browse the internet",
    "i am chatgpt", "i'm chatgpt", "trained by openai", "developed by openai", "created by openai",
    "als ki-sprachmodell", "als ki-modell", "als ki-assistent", "als ki kann ich", "als ki habe ich", "als ein ki-",
    "als künstliche intelligenz", "als sprachmodell", "als großes sprachmodell", "ich bin nur eine ki",
    "en tant que modèle de langage", "en tant que modèle linguistique", "en tant qu'ia", "en tant qu'assistant ia",
    "en tant qu'intelligence artificielle", "je suis un modèle de langage", "je ne suis qu'une ia",
    "como modelo de lenguaje", "como un modelo de lenguaje", "como modelo lingüístico", "como inteligencia artificial",
    "como una inteligencia artificial", "como asistente de ia", "como una ia",
    "como modelo de linguagem", "como um modelo de linguagem", "como inteligência artificial", "como uma ia",
    "como uma inteligência artificial", "come modello linguistico", "come modello di linguaggio", "in quanto modello",
    "in quanto ia", "in quanto intelligenza artificiale", "come intelligenza artificiale", "als taalmodel", "als een taalmodel",
    "als ai-taalmodel", "als ai-assistent", "als kunstmatige intelligentie", "som en ai-språkmodell", "som en språkmodell",
    "som en ai-sprogmodel", "jako model językowy", "jako sztuczna inteligencja", "jako model ai",
    "bir yapay zeka dil modeli", "bir yapay zeka olarak", "bir dil modeli olarak", "sebagai model bahasa", "sebagai ai,",
    "sebagai kecerdasan buatan", "как языковая модель", "как большая языковая модель", "как искусственный интеллект",
    "как ии-", "я всего лишь ии", "як мовна модель", "як штучний інтелект", "एआई भाषा मॉडल", "एक भाषा मॉडल के रूप में", "एआई के रूप में",
    "एक ai के रूप में", "ai भाषा मॉडल", "कृत्रिम बुद्धिमत्ता के रूप में", "作为一个ai", "作为一个人工智能", "作为ai", "作为人工智能",
    "作为一个语言模型", "作为语言模型", "作为大型语言模型", "作為ai", "作為人工智慧", "作為一個語言模型", "aiとして", "ai言語モデル", "人工知能として",
    "言語モデルとして", "ai로서", "인공지능으로서", "인공지능 언어 모델", "언어 모델로서", "كنموذج لغوي", "بصفتي نموذج", "بصفتي ذكاء اصطناعي",
)  # fmt: skip
# Only where an answer begins: later in a text they may be said by somebody in it.
_REFUSALS = (
    "i'm sorry, but i can", "i am sorry, but i can", "i'm sorry, i can't", "i'm sorry, i cannot", "i'm sorry but i can",
    "sorry, but i can't", "sorry, i can't", "sorry, i cannot", "i apologize, but i can", "i apologise, but i can",
    "i cannot fulfill", "i can't fulfill", "i cannot fulfil ", "i can't assist with", "i cannot assist with",
    "i can't help with that", "i cannot help with that", "i cannot provide", "i can't provide", "i am unable to", "i'm unable to",
    "i am not able to", "i'm not able to", "i cannot comply", "i must decline", "i won't be able to", "i cannot generate",
    "unfortunately, i cannot", "unfortunately, i can't", "unfortunately, i am unable",
    "es tut mir leid, aber ich kann", "tut mir leid, aber ich kann", "leider kann ich", "ich kann ihnen dabei nicht",
    "je suis désolé, mais je ne peux", "désolé, mais je ne peux", "désolée, mais je ne peux", "je ne peux pas répondre à",
    "lo siento, pero no puedo", "lo siento, no puedo", "desculpe, mas não posso", "desculpe, mas eu não posso",
    "sinto muito, mas não posso", "mi dispiace, ma non posso", "mi dispiace, non posso", "het spijt me, maar ik kan",
    "przykro mi, ale nie mogę", "üzgünüm, ancak", "maaf, saya tidak", "извините, но я не могу", "к сожалению, я не могу",
    "क्षमा करें, लेकिन मैं", "माफ़ करें, लेकिन मैं", "मुझे खेद है, लेकिन मैं", "很抱歉,我无法", "抱歉,我无法", "对不起,我无法", "抱歉,我不能",
    "申し訳ありませんが", "죄송하지만", "عذرا، لا أستطيع", "آسف، لا أستطيع",
)  # fmt: skip
_OPENING = 160  # characters in which a refusal is expected to begin
_BY_WORD: dict[str, list[str]] = {}  # the longest word of a phrase leads to it: most answers hold none of these words
for _phrase in _BOILERPLATE:
    _BY_WORD.setdefault(max(words(_phrase), key=len), []).append(_phrase)
_LEADING = frozenset(_BY_WORD)


def refusal(answer: str, found: Iterable[str]) -> str | None:
    """The answer refuses, or says that a model is speaking. Refusals may be wanted: that is for a person to say.

    found: the words of the answer.
    """
    leading = _LEADING.intersection(found)
    opening = _plain(answer[:_OPENING]).replace("，", ",").lstrip(" \n\t*_\"'")
    if leading:
        lowered = _plain(answer)
        said = [phrase for word in leading for phrase in _BY_WORD[word] if phrase in lowered]
        if said:
            return f"the answer says {excerpt(max(said))}"
    if opening.startswith(_REFUSALS):
        begun = max(phrase for phrase in _REFUSALS if opening.startswith(phrase))
        return f"the answer begins with {excerpt(begun)}"
    return None


def _plain(text: str) -> str:
    return text.lower().replace("’", "'")
